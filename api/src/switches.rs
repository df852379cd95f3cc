//! What a ScaledObject's annotations switch: pausing, and forced activation.

use sakidori_engine::{Pause, Switches};

use crate::annotations;
use crate::scaled_object::ScaledObject;

impl ScaledObject {
    /// All that annotations switch.
    pub fn switches(&self) -> Switches {
        Switches {
            pause: self.pause(),
            scale_in_paused: self.is_switched_on(annotations::PAUSED_SCALE_IN),
            scale_out_paused: self.is_switched_on(annotations::PAUSED_SCALE_OUT),
            activation_forced: self.is_switched_on(annotations::FORCE_ACTIVATION),
        }
    }

    /// Whether the object is paused, so that nothing is polled and it has no HPA. A number of replicas that is none pauses
    /// too; [`ScaledObject::pause_problem`] tells of it.
    pub fn pause(&self) -> Option<Pause> {
        match self.paused_replicas() {
            Some(Ok(replicas)) => Some(Pause::At(replicas)),
            Some(Err(_)) => Some(Pause::Whole),
            None => self
                .is_switched_on(annotations::PAUSED)
                .then_some(Pause::Whole),
        }
    }

    /// What is wrong with the number of replicas that the object is to be paused at.
    pub fn pause_problem(&self) -> Option<String> {
        self.paused_replicas()?.err()
    }

    fn paused_replicas(&self) -> Option<Result<i32, String>> {
        let text = self.annotation(annotations::PAUSED_REPLICAS)?;
        let replicas = text.parse().ok().filter(|replicas| *replicas >= 0);
        Some(replicas.ok_or_else(|| {
            format!(
                "the annotation {} is {text:?}: expected a whole number from 0 to {}",
                annotations::PAUSED_REPLICAS,
                i32::MAX
            )
        }))
    }

    /// KEDA: on for every value but those that Go's `strconv.ParseBool` reads as false.
    fn is_switched_on(&self, annotation: &str) -> bool {
        self.annotation(annotation)
            .is_some_and(|value| !matches!(value, "0" | "f" | "F" | "false" | "False" | "FALSE"))
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        let all = self.metadata.annotations.as_ref()?;
        all.get(key).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(all: &[(&str, &str)]) -> ScaledObject {
        let annotations = all
            .iter()
            .map(|(key, value)| (format!("autoscaling.keda.sh/{key}"), (*value).to_owned()))
            .collect();
        let mut object = ScaledObject::new("orders", Default::default());
        object.metadata.annotations = Some(annotations);
        object
    }

    #[test]
    fn a_switch_is_on_for_all_but_gos_words_for_false() {
        for on in [
            "1", "t", "T", "TRUE", "true", "True", "", "yes", "no", "fAlSe", " false", "off",
        ] {
            let object = annotated(&[("paused", on)]);
            assert_eq!(object.pause(), Some(Pause::Whole), "{on:?}");
        }
        for off in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(annotated(&[("paused", off)]).pause(), None, "{off:?}");
        }
    }

    #[test]
    fn each_annotation_switches_its_own() {
        let nothing = Switches::default();
        let cases = [
            ("other", nothing),
            (
                "paused",
                Switches {
                    pause: Some(Pause::Whole),
                    ..nothing
                },
            ),
            (
                "paused-scale-in",
                Switches {
                    scale_in_paused: true,
                    ..nothing
                },
            ),
            (
                "paused-scale-out",
                Switches {
                    scale_out_paused: true,
                    ..nothing
                },
            ),
            (
                "force-activation",
                Switches {
                    activation_forced: true,
                    ..nothing
                },
            ),
        ];
        for (key, switches) in cases {
            assert_eq!(annotated(&[(key, "true")]).switches(), switches, "{key}");
            assert_eq!(annotated(&[(key, "false")]).switches(), nothing, "{key}");
        }
    }

    #[test]
    fn the_number_of_replicas_pauses_by_its_presence() {
        for (text, replicas) in [("0", 0), ("7", 7), ("+3", 3), ("2147483647", i32::MAX)] {
            let object = annotated(&[("paused-replicas", text), ("paused", "false")]);
            assert_eq!(object.pause(), Some(Pause::At(replicas)), "{text:?}");
            assert_eq!(object.pause_problem(), None, "{text:?}");
        }
        for text in ["", "x", "1.5", " 1", "2147483648", "-1", "true", "1_0"] {
            let object = annotated(&[("paused-replicas", text)]);
            assert_eq!(object.pause(), Some(Pause::Whole), "{text:?}");
            let problem = object.pause_problem().unwrap();
            let told = format!("autoscaling.keda.sh/paused-replicas is {text:?}: expected");
            assert!(problem.contains(&told), "{problem}");
        }
    }
}
