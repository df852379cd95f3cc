//! The formula of `scalingModifiers`: one number out of all triggers' values.
//!
//! The language is the one that KEDA uses, [expr](https://expr-lang.org/docs/language-definition), as far as it is about
//! numbers: arithmetic, comparisons, `and`, `or`, `not`, `? :`, `if else`, `??`, `let`, lists with their functions and
//! predicates. There are no texts, maps and dates, which triggers don't give.
//!
//! A formula is checked as a whole before it is ever used: every name, every type, and what it may cost at most, also in the
//! branches that are not taken today. So one that was accepted ends after a bounded number of steps, whatever the
//! triggers answer. That, and errors for all of a formula's branches, is why this is not a library: those that exist evaluate
//! a formula until it ends. `tests/formula/` holds what Go's library makes of some two hundred formulas.

mod check;
mod evaluate;
mod function;
mod parse;
mod syntax;
mod token;

use std::fmt;

use syntax::Node;

/// The longest formula, in bytes. The longest ones known from practice have some hundred.
const LONGEST: usize = 8 * 1024;

/// A formula that was checked: every name is known, every type fits, and it ends soon.
///
/// ```
/// use sakidori_engine::Formula;
///
/// let formula = Formula::compile("max(orders, returns) / 2", &["orders", "returns"])?;
/// assert_eq!(formula.evaluate(&[Some(10.0), Some(4.0)]), Ok(Some(5.0)));
///
/// let error = Formula::compile("orders + order", &["orders"]).unwrap_err();
/// assert_eq!(error.to_string(), r#"unknown name "order" at column 10, did you mean "orders"?"#);
/// # Ok::<(), sakidori_engine::FormulaError>(())
/// ```
#[derive(Clone)]
pub struct Formula {
    text: String,
    node: Node,
    triggers: usize,
    may_be_nil: bool,
}

/// Why a text is no formula, with the column where that shows, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormulaError(String);

impl FormulaError {
    fn at(column: usize, message: impl fmt::Display) -> Self {
        Self(format!("{message} at column {column}"))
    }

    fn whole(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Formula {
    /// Reads and checks a formula over triggers of these names.
    ///
    /// # Errors
    /// For what is no formula, for names and types that don't fit, for one that may take too long, and (as KEDA) for one that
    /// fails where every trigger's value is -1.
    pub fn compile(text: &str, triggers: &[impl AsRef<str>]) -> Result<Self, FormulaError> {
        if text.len() > LONGEST {
            return Err(FormulaError::whole(format!(
                "the formula is {} bytes long: expected {LONGEST} at most",
                text.len()
            )));
        }
        let names: Vec<&str> = triggers.iter().map(AsRef::as_ref).collect();
        let node = parse::parse(text, &names)?;
        // KEDA: makes a float of the result, unless `??` stands in the formula, which may be nil then.
        let may_be_nil = text.contains("??");
        check::check(&node)?;
        let formula = Self {
            text: text.to_owned(),
            node,
            triggers: names.len(),
            may_be_nil,
        };
        let samples = vec![Some(-1.0); names.len()];
        // What is no finite number fails each time it happens, but need not happen each time.
        match formula.run(&samples) {
            Ok(_) => Ok(formula),
            Err(problem) => Err(FormulaError::whole(format!(
                "{problem}, where each trigger's value is -1"
            ))),
        }
    }

    /// The formula's value, where the triggers have `values`, in the order of the names it was compiled with. `None` stands for
    /// a trigger that has fallen back to nil, and for a result of nil.
    ///
    /// # Errors
    /// If a value is nil where a number is needed, an index is beyond a list's end, or the result is no finite number.
    pub fn evaluate(&self, values: &[Option<f64>]) -> Result<Option<f64>, String> {
        match self.run(values)? {
            Some(number) if !number.is_finite() => {
                Err(format!("the formula gives {number}: expected a number"))
            }
            result => Ok(result),
        }
    }

    fn run(&self, values: &[Option<f64>]) -> Result<Option<f64>, String> {
        if values.len() != self.triggers {
            return Err(format!(
                "the formula is over {} triggers, but {} values were given",
                self.triggers,
                values.len()
            ));
        }
        evaluate::evaluate(&self.node, values, self.may_be_nil)
    }

    /// The formula as it is written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node && self.triggers == other.triggers
    }
}

impl fmt::Debug for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Formula").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Formula::compile(text, &["a", "b"]).unwrap_err().to_string()
    }

    #[test]
    fn errors_say_where_and_what() {
        for (text, error) in [
            ("a + queue", r#"unknown name "queue" at column 5"#),
            ("alpha", r#"unknown name "alpha" at column 1"#),
            (
                "a > 1000 ? b % 2 : 0",
                "% needs whole numbers, got a number and a whole number (int() makes one) at column 14",
            ),
            (
                "a and b",
                "and needs conditions, got a number and a number at column 3",
            ),
            ("a ? 1 : 2", "? needs a condition, got a number at column 3"),
            ("a > b", "the formula gives a condition: expected a number"),
            ("a +", "the formula ends too soon at column 4"),
            ("(a", "the formula ends too soon at column 3"),
            ("a b", r#"unexpected "b" at column 3"#),
            (
                "cuont([a], {# > 1})",
                r#"unknown function "cuont" at column 1, did you mean "count"?"#,
            ),
            ("sum(a)", "sum() needs a list, got a number at column 1"),
            ("abs(a, b)", "abs() takes 1 argument, got 2 at column 1"),
            ("'text'", "texts are not supported in formulas at column 1"),
            ("{x: 1}", "maps are not supported in formulas at column 1"),
            (
                "1..a",
                "a range needs two whole numbers written out at column 2",
            ),
            (
                "a ?? 0 + 1",
                "?? and + stand side by side: put one of them into parentheses at column 8",
            ),
            (
                "let x = 1; let x = 2; x",
                r#"the name "x" is taken at column 16"#,
            ),
            (
                "[1, 2][5]",
                "index 5 is beyond the end of a list of 2, where each trigger's value is -1",
            ),
            (
                "find([a], {# > 1})",
                "the formula gives nil: expected a number, where each trigger's value is -1",
            ),
        ] {
            assert_eq!(refused(text), error, "{text}");
        }
    }

    #[test]
    fn what_may_take_long_is_refused() {
        let too_long = "the formula may take more than 100000 steps: make its lists shorter, or nest them less";
        let doubled: String = (0..40)
            .map(|n| format!("let l{} = concat(l{n}, l{n}); ", n + 1))
            .collect();
        let nested: String = (0..40)
            .map(|n| format!("let l{} = [l{n}, l{n}]; ", n + 1))
            .collect();
        for text in [
            "sum(1..1000000000)".to_owned(),
            "sum(map(1..500, {sum(map(1..500, {#}))}))".to_owned(),
            "a > 1000 ? sum(1..1000000000) : 0".to_owned(),
            format!("let l0 = [a, b]; {doubled} sum(l40)"),
            format!("let l0 = [a, b]; {nested} sum(flatten(l40))"),
            format!("let l0 = [a, b]; {nested} l40 == l40 ? 1 : 0"),
            format!(
                "sum({}[a]{})",
                "map(1..9, {sum(".repeat(12),
                ")})".repeat(12)
            )
            .replace("[a]", "1..9"),
        ] {
            assert_eq!(refused(&text), too_long, "{}", &text[..text.len().min(60)]);
        }
        assert!(
            refused(&format!("{}a{}", "(".repeat(300), ")".repeat(300)))
                .starts_with("the formula is nested too deeply")
        );
        assert!(refused(&"-".repeat(5000)).starts_with("the formula is nested too deeply"));
        assert!(refused(&"a+".repeat(5000)).starts_with("the formula is 10000 bytes long"));
        assert!(
            refused("sum(reduce([a, b], {[#acc, #acc]}, [1]))")
                .starts_with("reduce() has to make a number")
        );
    }

    #[test]
    fn long_sums_are_fine() {
        let text = format!("{}a", "a + ".repeat(1000));
        let formula = Formula::compile(&text, &["a", "b"]).unwrap();
        assert_eq!(formula.evaluate(&[Some(2.0), None]), Ok(Some(2002.0)));
    }

    #[test]
    fn what_is_no_number_is_an_error_each_time() {
        let formula = Formula::compile("a / b", &["a", "b"]).unwrap();
        assert_eq!(formula.evaluate(&[Some(6.0), Some(3.0)]), Ok(Some(2.0)));
        for (values, error) in [
            (
                [Some(1.0), Some(0.0)],
                "the formula gives inf: expected a number",
            ),
            (
                [Some(0.0), Some(0.0)],
                "the formula gives NaN: expected a number",
            ),
            ([None, Some(1.0)], "/ needs numbers, got nil"),
        ] {
            assert_eq!(formula.evaluate(&values), Err(error.to_owned()));
        }
    }
}
