//! What it takes to find a place in a JSON document: bounded before gjson looks, since nothing ends it once it does.
//!
//! A location comes from a user, and a document from a server; together they can be made to take hours or any memory: `*a*a*a*b`
//! tries all ways to split a long key, and each `|[@this,@this]` makes two copies of what the last one made. What is computed
//! here is never less than what gjson does, and mostly more. Locations of people stay far below the limits.

/// Steps of comparing and converting: a second or two.
const MOST_STEPS: u64 = 500_000_000;

/// Bytes of all copies that a location makes of parts of a document.
const MOST_COPIED: u64 = 64 * 1024 * 1024;

/// What `@reverse` and `@join` need beside a copy, in bytes for each byte: places of all values, or a table of all names.
const LISTED: u64 = 32;

/// The levels that documents may nest, each of which `@pretty` indents.
const LEVELS: u64 = 100;

/// The strings and values of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// All of it, in bytes.
    pub bytes: u64,
    /// No fewer than it has values.
    pub values: u64,
    /// How many strings there are, by the number of binary digits of their length in bytes.
    strings: [u64; 33],
}

impl Content {
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes: bytes as u64,
            values: 1,
            strings: [0; 33],
        }
    }

    /// One more string.
    pub fn string(&mut self, bytes: u64) {
        let digits = (u64::BITS - bytes.leading_zeros()).min(32) as usize;
        self.strings[digits] += 1;
    }

    /// At least the sum of all strings' lengths, each to the power of `exponent`.
    fn strings_to_the_power(&self, exponent: u32) -> u64 {
        let each = self.strings.iter().enumerate();
        // Every string with so many digits is shorter.
        let power = |(digits, count): (usize, &u64)| {
            (1_u64 << digits)
                .saturating_pow(exponent)
                .saturating_mul(*count)
        };
        each.map(power).fold(0, u64::saturating_add)
    }
}

/// # Errors
/// Says what is too much, and what to do.
pub fn check(location: &str, content: &Content) -> Result<(), String> {
    if steps(location, content) > MOST_STEPS {
        return Err(format!(
            "finding a place in this answer takes more than the limit of {MOST_STEPS} steps: use fewer * and shorter queries, or a smaller answer; valueLocation is {location:?}"
        ));
    }
    if copied(location).saturating_mul(content.bytes) > MOST_COPIED {
        return Err(format!(
            "finding a place in this answer makes more copies of it than the limit of {} MiB: use fewer modifiers, lists and #, or a smaller answer; valueLocation is {location:?}",
            MOST_COPIED / (1024 * 1024)
        ));
    }
    Ok(())
}

/// At least the comparisons of wildcards and queries.
fn steps(location: &str, content: &Content) -> u64 {
    let length = location.len() as u64;
    let count = |what: char| u32::try_from(location.matches(what).count()).unwrap_or(u32::MAX);
    let stars = count('*');
    let mut steps = 0_u64;
    if stars > 0 || location.contains('?') {
        // Each * may end anywhere, and from there the rest of the pattern is compared.
        let ways = content.strings_to_the_power(stars.max(1));
        steps = steps.saturating_add(ways.saturating_mul(length));
    }
    if location.contains('(') {
        // What is compared with is converted for each value anew.
        steps = steps.saturating_add(content.values.saturating_mul(length));
    }
    steps
}

/// At least how many times as large as the document all copies are that a location makes of it.
fn copied(location: &str) -> u64 {
    let length = location.len() as u64;
    let count = |what: &str| location.matches(what).count() as u64;
    let lists = count("[") + count("{");
    let copies = count("@") + count("#") + lists;
    // A list holds each of its members, and an object their names, which are parts of the location and are escaped; it may be
    // made for each value of one byte.
    let names = if location.contains('{') {
        6 * length
    } else {
        0
    };
    let members = count(",").div_ceil(lists.max(1)) + 4 + names;
    let power =
        |base: u64, times: u64| base.saturating_pow(u32::try_from(times).unwrap_or(u32::MAX));
    // Members are spread over the lists in the way that makes most.
    let by_lists = power(members, lists);
    let by_indents = power(length * (LEVELS + 1), count("pretty"));
    let listed = match count("reverse") + count("join") {
        0 => 1,
        _ => LISTED,
    };
    copies
        .saturating_mul(by_lists)
        .saturating_mul(by_indents)
        .saturating_mul(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a document of objects with short names looks like.
    fn ordinary(bytes: u64) -> Content {
        let mut content = Content::new(bytes as usize);
        content.values = bytes / 15;
        for _ in 0..bytes / 20 {
            content.string(8);
        }
        content
    }

    #[test]
    fn what_people_write_fits_the_largest_documents() {
        for location in [
            "count",
            "a.b.0.c",
            "jobs.#(state==\"open\")#|#",
            "jobs.#(state==\"open\").waiting",
            "queues.#.consumers.#",
            "a.#(name%\"order-*\").messages",
            "a.*.waiting",
            "..1.count",
            "a|@this|b",
        ] {
            assert_eq!(check(location, &ordinary(10 << 20)), Ok(()), "{location}");
        }
        for location in [
            "[a,b].0",
            "{\"x\":a.b,\"y\":c}.x",
            "a.@flatten|@reverse|0",
            "@pretty|a",
            "*name*.waiting*",
        ] {
            assert_eq!(check(location, &ordinary(4 << 10)), Ok(()), "{location}");
        }
    }

    #[test]
    fn what_would_take_hours_or_all_memory_does_not() {
        let mut key = Content::new(10_000);
        key.string(9_000);
        for location in ["*a*a*a*b", "#(a%\"*a*a*b\")", "*a*b"] {
            let told = check(location, &key).unwrap_err();
            assert!(told.contains("limit of 500000000 steps"), "{told}");
        }
        let digits = "1".repeat(900);
        assert!(check(&format!("#(>{digits})"), &ordinary(10 << 20)).is_err());
        for location in [
            "[@this,@this]|".repeat(60),
            "@this|".repeat(100),
            format!("#.{{\"{}\":@this}}", "n".repeat(900)),
            format!("@pretty:{{\"indent\":\"{}\"}}", " ".repeat(900)),
            format!("[{}]", "@this,".repeat(100)),
        ] {
            let told = check(&location, &ordinary(1 << 20)).unwrap_err();
            assert!(told.contains("limit of 64 MiB"), "{told}");
        }
        // Even of the smallest document.
        assert!(check(&"[@this,@this]|".repeat(60), &ordinary(40)).is_err());
    }

    #[test]
    fn the_sum_of_powers_is_never_too_low() {
        let lengths = [0_u64, 1, 2, 3, 7, 8, 9, 1000, 1 << 15];
        let mut content = Content::new(0);
        lengths.iter().for_each(|length| content.string(*length));
        for exponent in 1..4 {
            let exact: u64 = lengths.iter().map(|length| length.pow(exponent)).sum();
            let bound = content.strings_to_the_power(exponent);
            assert!(bound >= exact, "{exponent}: {bound} < {exact}");
            assert!(bound <= exact.saturating_mul(1 << exponent).saturating_add(2));
        }
        content.string(u64::MAX / 4);
        assert_eq!(content.strings_to_the_power(3), u64::MAX);
    }
}
