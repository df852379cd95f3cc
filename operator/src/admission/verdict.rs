//! What admission says of an object: all that is wrong with it at once, and what probably isn't meant.

use std::collections::{BTreeSet, HashSet};

/// More problems than this are counted, not shown: nobody reads on.
const SHOWN: usize = 50;
/// The longest warning. The API server cuts many long ones itself, in the middle.
const WARNING_LIMIT: usize = 1000;

/// The `reason` label of `keda_webhook_scaled_object_validation_errors_total`: KEDA's, and two of ours.
pub mod reason {
    pub const TRIGGERS: &str = "incorrect-triggers";
    pub const OTHER_HPA: &str = "other-hpa";
    pub const TRANSFER: &str = "transfer-ownership-missing-hpa-name";
    pub const OTHER_SCALED_OBJECT: &str = "other-scaled-object";
    pub const OTHER_SCALED_OBJECT_HPA: &str = "other-scaled-object-hpa";
    pub const MISSING_REQUESTS: &str = "missing-requests";
    pub const SCALE_TO_ZERO: &str = "scale-to-zero-requirements-not-met";
    /// What stands under `advanced.sakidori.inPlaceResize`, which KEDA doesn't have.
    pub const RESIZE: &str = "incorrect-in-place-resize";
    /// KEDA refuses a target of an unknown kind too, but doesn't count it.
    pub const TARGET: &str = "incorrect-target";
}

#[derive(Debug, Default)]
pub struct Verdict {
    violations: Vec<Violation>,
    warnings: Vec<String>,
    /// All texts of both, each of which is told once.
    told: HashSet<String>,
    /// Nobody has looked at the object.
    unchecked: bool,
}

#[derive(Debug)]
struct Violation {
    reason: &'static str,
    text: String,
    /// KEDA has this rule too.
    kedas: bool,
}

impl Verdict {
    /// A rule of KEDA's is broken.
    pub fn refuse(&mut self, reason: &'static str, text: impl Into<String>) {
        self.add(reason, text.into(), true);
    }

    /// A rule is broken that KEDA doesn't have at admission.
    pub fn refuse_beyond_keda(&mut self, reason: &'static str, text: impl Into<String>) {
        self.add(reason, text.into(), false);
    }

    fn add(&mut self, reason: &'static str, text: String, kedas: bool) {
        if self.told.insert(text.clone()) {
            self.violations.push(Violation {
                reason,
                text,
                kedas,
            });
        }
    }

    /// Tells the user something without refusing.
    pub fn warn(&mut self, text: impl Into<String>) {
        let text = one_line(text.into());
        if self.told.insert(text.clone()) {
            self.warnings.push(text);
        }
    }

    /// The object is let through without a look at it.
    pub fn unchecked(why: &str) -> Self {
        let mut verdict = Self {
            unchecked: true,
            ..Self::default()
        };
        verdict.warn(format!("Sakidori did not check this object: {why}"));
        verdict
    }

    /// What became of the object, in one word.
    pub fn result(&self) -> &'static str {
        match (self.unchecked, self.violations.is_empty()) {
            (true, _) => "unchecked",
            (_, true) => "allowed",
            (_, false) => "refused",
        }
    }

    /// Adds what another one says.
    pub fn append(&mut self, other: Self) {
        for Violation {
            reason,
            text,
            kedas,
        } in other.violations
        {
            self.add(reason, text, kedas);
        }
        for warning in other.warnings {
            self.warn(warning);
        }
    }

    /// The object's spec stays as it was, so nothing new is wrong: what only we refuse must not keep anyone from pausing,
    /// labelling or annotating an object that was stored before.
    pub fn spare_what_is_stored(&mut self) {
        let (kedas, ours): (Vec<_>, Vec<_>) = std::mem::take(&mut self.violations)
            .into_iter()
            .partition(|violation| violation.kedas);
        self.violations = kedas;
        for violation in ours {
            self.told.remove(&violation.text);
            self.warn(violation.text);
        }
    }

    /// The sentence of the one problem, or a list of them all; `None` where nothing is refused.
    pub fn message(&self) -> Option<String> {
        match &self.violations[..] {
            [] => None,
            [violation] => Some(violation.text.clone()),
            all => {
                let mut message = format!("{} problems:", all.len());
                for violation in all.iter().take(SHOWN) {
                    message.push_str("\n- ");
                    // What goes on in a further line stands below the first.
                    message.push_str(&violation.text.replace('\n', "\n  "));
                }
                if all.len() > SHOWN {
                    message.push_str(&format!("\n- and {} more", all.len() - SHOWN));
                }
                Some(message)
            }
        }
    }

    /// Why it is refused, each reason once.
    pub fn reasons(&self) -> BTreeSet<&'static str> {
        self.violations
            .iter()
            .map(|violation| violation.reason)
            .collect()
    }

    pub fn into_warnings(self) -> Vec<String> {
        self.warnings
    }
}

/// Warnings travel in an HTTP header, in which the API server takes no control characters.
fn one_line(text: String) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(WARNING_LIMIT)
        .collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
impl Verdict {
    /// All that is refused.
    pub fn texts(&self) -> Vec<String> {
        let violations = self.violations.iter();
        violations.map(|violation| violation.text.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_problem_is_its_sentence_and_several_are_a_list() {
        let mut verdict = Verdict::default();
        assert_eq!(verdict.message(), None);
        verdict.refuse(reason::TRIGGERS, "a is wrong");
        verdict.refuse(reason::TRIGGERS, "a is wrong");
        assert_eq!(verdict.message().unwrap(), "a is wrong");
        verdict.refuse(reason::TARGET, "b is wrong:\nvery");
        assert_eq!(
            verdict.message().unwrap(),
            "2 problems:\n- a is wrong\n- b is wrong:\n  very"
        );
        assert_eq!(
            verdict.reasons().into_iter().collect::<Vec<_>>(),
            ["incorrect-target", "incorrect-triggers"]
        );
        for n in 0..60 {
            verdict.refuse(reason::TRIGGERS, n.to_string());
        }
        let message = verdict.message().unwrap();
        assert!(message.starts_with("62 problems:\n") && message.ends_with("\n- and 12 more"));
    }

    #[test]
    fn a_warning_is_one_line() {
        let mut verdict = Verdict::default();
        verdict.warn("a\nb\tc");
        verdict.warn("ü".repeat(2000));
        let warnings = verdict.into_warnings();
        assert_eq!(warnings[0], "a b c");
        assert_eq!(warnings[1].chars().count(), WARNING_LIMIT + 1);
    }

    #[test]
    fn what_was_stored_is_refused_only_for_what_keda_refuses() {
        let mut verdict = Verdict::default();
        verdict.refuse(reason::OTHER_HPA, "keda's");
        verdict.refuse_beyond_keda(reason::TRIGGERS, "ours");
        verdict.spare_what_is_stored();
        assert_eq!(verdict.message().unwrap(), "keda's");
        assert_eq!(verdict.into_warnings(), ["ours"]);
    }
}
