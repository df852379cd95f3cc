//! Values that are not known yet. At admission, what a trigger's authentication and the environment of the target's container
//! will give isn't read; yet most of what is wrong with a trigger is wrong whatever they give.
//!
//! So such a trigger is built several times, with another guess at the unknown values each time ([`GUESSES`]), and what is wrong
//! every time counts. An unknown value stands in the trigger's maps as a marker. Where the parameters are read into their struct,
//! the marker is replaced by a sample that parses by itself: a guess never fails a value's own check, which is about the value
//! alone, but goes on to the rules between parameters, where the known ones may be at fault.

use super::field::Field;

/// How many guesses there are.
pub const GUESSES: usize = SAMPLES.len() + 1;

/// In place of a problem: no sample parses for a parameter that must be there, so nothing is known of the rules that it takes
/// part in.
pub const UNDECIDED: &str = "\u{1}undecided";

/// What unknown values may be: texts, numbers of several sizes, switches, addresses. They differ enough that a rule which all
/// of them break is broken by the known values.
const SAMPLES: &[&str] = &[
    "x",
    "1",
    "0",
    "1000000",
    "0.5",
    "-1",
    "true",
    "false",
    "enable",
    "disable",
    "http://host.invalid:1/path",
    "https://host.invalid/",
    "amqp://user:password@host.invalid:1/vhost",
    "amqps://host.invalid",
    "host.invalid:1",
    "{}",
];

const MARK: char = '\u{1}';

/// What stands in a trigger's maps for an unknown value, in the guess of that number. The guess of number 0 gives only what is
/// required.
pub fn marker(guess: usize) -> String {
    format!("{MARK}{guess}")
}

/// The guess that a value is a marker of.
pub(super) fn guess_of(value: &str) -> Option<usize> {
    value.strip_prefix(MARK)?.parse().ok()
}

/// The value that a guess takes for a parameter: its own sample if it parses, else the default, else any sample that does.
pub(super) fn sample(
    guess: usize,
    field: &Field,
    parses: impl Fn(&'static str) -> bool,
) -> Option<&'static str> {
    let own = guess.checked_sub(1).and_then(|at| SAMPLES.get(at)).copied();
    own.into_iter()
        .chain(field.default)
        .chain(SAMPLES.iter().copied())
        .find(|text| parses(text))
}
