//! Whether a formula's types fit, and what it costs at most: read from the formula alone, in all of its branches.

use super::FormulaError;
use super::function::Function;
use super::syntax::{Binary, Node, Unary};

/// The most steps that a formula may take: some milliseconds. A step is one operation, or one element looked at or made.
const MOST_STEPS: u64 = 100_000;

/// What is known of a value before the formula runs.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Any,
    Nil,
    Bool,
    Int,
    Float,
    List(Box<Kind>),
}

/// A value's kind, how many elements it has at most (those of lists within lists, too), and the steps to get it.
#[derive(Clone, Debug)]
struct Known {
    kind: Kind,
    size: u64,
    steps: u64,
}

impl Known {
    fn new(kind: Kind, size: u64, steps: u64) -> Self {
        Self {
            kind,
            size,
            steps: steps.saturating_add(1),
        }
    }

    fn number(kind: Kind, steps: u64) -> Self {
        Self::new(kind, 1, steps)
    }
}

/// Checks types and costs; the formula has to give a number (which may turn out nil when it runs).
pub(super) fn check(node: &Node) -> Result<(), FormulaError> {
    let known = Checker::default().known(node)?;
    if known.steps > MOST_STEPS {
        return Err(FormulaError::whole(format!(
            "the formula may take more than {MOST_STEPS} steps: make its lists shorter, or nest them less"
        )));
    }
    match &known.kind {
        Kind::Any | Kind::Int | Kind::Float => Ok(()),
        other => Err(FormulaError::whole(format!(
            "the formula gives {}: expected a number",
            word(other)
        ))),
    }
}

#[derive(Default)]
struct Checker {
    locals: Vec<Known>,
    /// What `#` and `#acc` are, in the predicates around.
    elements: Vec<(Kind, u64, Kind)>,
}

impl Checker {
    fn known(&mut self, node: &Node) -> Result<Known, FormulaError> {
        Ok(match node {
            Node::Nil => Known::number(Kind::Nil, 0),
            Node::Bool(_) => Known::number(Kind::Bool, 0),
            Node::Int(_) => Known::number(Kind::Int, 0),
            Node::Float(_) | Node::Trigger(_) => Known::number(Kind::Float, 0),
            Node::Local(index) => match self.locals.get(*index) {
                Some(local) => Known::new(local.kind.clone(), local.size, 0),
                None => Known::number(Kind::Any, 0),
            },
            Node::Element => match self.elements.last() {
                Some((kind, size, _)) => Known::new(kind.clone(), *size, 0),
                None => Known::number(Kind::Any, 0),
            },
            Node::Index => Known::number(Kind::Int, 0),
            Node::Accumulator => match self.elements.last() {
                Some((_, _, kind)) => Known::number(kind.clone(), 0),
                None => Known::number(Kind::Any, 0),
            },
            Node::List(nodes) => self.list(nodes)?,
            Node::Range(from, to) => {
                let length = u64::try_from(to.saturating_sub(*from))
                    .map_or(0, |last| last.saturating_add(1));
                Known::new(list_of(Kind::Int), length, length)
            }
            Node::Unary {
                operator,
                operand,
                column,
            } => {
                let operand = self.known(operand)?;
                Known::number(unary(*operator, &operand.kind, *column)?, operand.steps)
            }
            Node::Chain { first, rest } => {
                let mut left = self.known(first)?;
                for link in rest {
                    let right = self.known(&link.operand)?;
                    left = chained(link.operator, &left, &right, link.column)?;
                }
                left
            }
            Node::Conditional {
                condition,
                yes,
                no,
                column,
            } => {
                let condition = self.known(condition)?;
                if !matches!(condition.kind, Kind::Bool | Kind::Any) {
                    let problem = format!("? needs a condition, got {}", word(&condition.kind));
                    return Err(FormulaError::at(*column, problem));
                }
                let (yes, no) = (self.known(yes)?, self.known(no)?);
                let steps = condition.steps.saturating_add(yes.steps.max(no.steps));
                Known::new(either(yes.kind, no.kind), yes.size.max(no.size), steps)
            }
            Node::Let { value, body } => {
                let value = self.known(value)?;
                let steps = value.steps;
                self.locals.push(value);
                let body = self.known(body);
                self.locals.pop();
                let body = body?;
                Known::new(body.kind, body.size, body.steps.saturating_add(steps))
            }
            Node::At {
                list,
                index,
                column,
            } => {
                let (list, index) = (self.known(list)?, self.known(index)?);
                let kind = element(&list.kind, "[]", *column)?;
                whole(&index.kind, "[]", *column)?;
                Known::new(kind, list.size, list.steps.saturating_add(index.steps))
            }
            Node::Slice {
                list,
                from,
                to,
                column,
            } => {
                let list = self.known(list)?;
                element(&list.kind, "[]", *column)?;
                let mut steps = list.steps.saturating_add(list.size);
                for bound in [from, to].into_iter().flatten() {
                    let bound = self.known(bound)?;
                    whole(&bound.kind, "[]", *column)?;
                    steps = steps.saturating_add(bound.steps);
                }
                Known::new(list.kind, list.size, steps)
            }
            Node::Call {
                function,
                arguments,
                predicate,
                column,
            } => self.call(*function, arguments, predicate.as_deref(), *column)?,
        })
    }

    fn list(&mut self, nodes: &[Node]) -> Result<Known, FormulaError> {
        let mut kind = None;
        let (mut size, mut steps) = (0u64, 0u64);
        for node in nodes {
            let known = self.known(node)?;
            size = size.saturating_add(known.size.max(1));
            steps = steps.saturating_add(known.steps);
            kind = Some(match kind {
                None => known.kind,
                Some(before) => either(before, known.kind),
            });
        }
        // Elements within elements are made once and shared, but whoever goes through them all meets each.
        Ok(Known::new(
            list_of(kind.unwrap_or(Kind::Any)),
            size,
            steps.saturating_add(size),
        ))
    }

    fn call(
        &mut self,
        function: Function,
        arguments: &[Node],
        predicate: Option<&Node>,
        column: usize,
    ) -> Result<Known, FormulaError> {
        let name = format!("{}()", function.name());
        let known: Vec<Known> = arguments
            .iter()
            .map(|node| self.known(node))
            .collect::<Result<_, _>>()?;
        let [first, others @ ..] = &*known else {
            return Ok(Known::number(Kind::Any, 0));
        };
        let given = known
            .iter()
            .fold(0u64, |sum, it| sum.saturating_add(it.steps));
        let all_sizes = known
            .iter()
            .fold(0u64, |sum, it| sum.saturating_add(it.size));
        // Sorting looks at each element some times, comparing each with all others many times.
        let sorting = first.size.saturating_mul(20);
        let squared = first.size.saturating_mul(first.size);
        let numbers = |known: &Known| number(&known.kind, &name, column);
        Ok(match function {
            Function::Abs => {
                numbers(first)?;
                Known::number(first.kind.clone(), given)
            }
            Function::Ceil | Function::Floor | Function::Round | Function::Float => {
                numbers(first)?;
                Known::number(Kind::Float, given)
            }
            Function::Int => {
                numbers(first)?;
                Known::number(Kind::Int, given)
            }
            Function::Max | Function::Min | Function::Mean | Function::Median => {
                let mut kind = None;
                for argument in &known {
                    let this = innermost(&argument.kind);
                    number(&this, &name, column)?;
                    kind = Some(kind.map_or(this.clone(), |before| either(before, this.clone())));
                }
                let kind = match function {
                    Function::Mean | Function::Median => Kind::Float,
                    _ => kind.unwrap_or(Kind::Any),
                };
                Known::number(kind, given.saturating_add(all_sizes.saturating_mul(20)))
            }
            Function::Concat => {
                let mut kind = None;
                for argument in &known {
                    let this = element(&argument.kind, &name, column)?;
                    kind = Some(kind.map_or(this.clone(), |before| either(before, this.clone())));
                }
                Known::new(
                    list_of(kind.unwrap_or(Kind::Any)),
                    all_sizes,
                    given.saturating_add(all_sizes),
                )
            }
            Function::Len => {
                element(&first.kind, &name, column)?;
                Known::number(Kind::Int, given)
            }
            Function::First | Function::Last => {
                let kind = element(&first.kind, &name, column)?;
                Known::new(kind, first.size, given)
            }
            Function::Get | Function::Take => {
                let kind = element(&first.kind, &name, column)?;
                for index in others {
                    whole(&index.kind, &name, column)?;
                }
                let kind = if function == Function::Take {
                    list_of(kind)
                } else {
                    kind
                };
                Known::new(kind, first.size, given.saturating_add(first.size))
            }
            Function::Reverse => {
                let kind = element(&first.kind, &name, column)?;
                Known::new(list_of(kind), first.size, given.saturating_add(first.size))
            }
            Function::Uniq => {
                let kind = element(&first.kind, &name, column)?;
                Known::new(list_of(kind), first.size, given.saturating_add(squared))
            }
            Function::Sort => {
                let kind = element(&first.kind, &name, column)?;
                number(&kind, &name, column)?;
                Known::new(list_of(kind), first.size, given.saturating_add(sorting))
            }
            Function::Flatten => {
                element(&first.kind, &name, column)?;
                Known::new(
                    list_of(innermost(&first.kind)),
                    first.size,
                    given.saturating_add(first.size),
                )
            }
            Function::Sum if predicate.is_none() => {
                let kind = element(&first.kind, &name, column)?;
                number(&kind, &name, column)?;
                Known::number(kind, given.saturating_add(first.size))
            }
            Function::Count if predicate.is_none() => {
                let kind = element(&first.kind, &name, column)?;
                condition(&kind, &name, column)?;
                Known::number(Kind::Int, given.saturating_add(first.size))
            }
            _ => {
                let item = element(&first.kind, &name, column)?;
                let start = others
                    .first()
                    .map_or_else(|| item.clone(), |initial| initial.kind.clone());
                let Some(predicate) = predicate else {
                    return Ok(Known::number(Kind::Any, given));
                };
                self.elements.push((item.clone(), first.size, Kind::Any));
                let body = self.known(predicate);
                self.elements.pop();
                let body = body?;
                let steps = given
                    .saturating_add(first.size.saturating_mul(body.steps))
                    .saturating_add(sorting);
                self.folded(function, &item, &start, first.size, &body, steps, column)?
            }
        })
    }

    /// A function that applies a predicate to each element.
    #[allow(clippy::too_many_arguments, reason = "all that is known of one call")]
    fn folded(
        &self,
        function: Function,
        item: &Kind,
        start: &Kind,
        size: u64,
        body: &Known,
        steps: u64,
        column: usize,
    ) -> Result<Known, FormulaError> {
        let name = format!("the predicate of {}()", function.name());
        Ok(match function {
            Function::Map => Known::new(
                list_of(body.kind.clone()),
                size.saturating_mul(body.size),
                steps,
            ),
            Function::Sum => {
                number(&body.kind, &name, column)?;
                Known::number(body.kind.clone(), steps)
            }
            Function::SortBy => {
                number(&body.kind, &name, column)?;
                Known::new(list_of(item.clone()), size, steps)
            }
            Function::Reduce => {
                // What it makes is put into it again: a list could double each time.
                if body.size > 1
                    || matches!(body.kind, Kind::List(_))
                    || matches!(start, Kind::List(_))
                {
                    return Err(FormulaError::at(
                        column,
                        "reduce() has to make a number of numbers",
                    ));
                }
                Known::number(either(start.clone(), body.kind.clone()), steps)
            }
            _ => {
                condition(&body.kind, &name, column)?;
                match function {
                    Function::Filter => Known::new(list_of(item.clone()), size, steps),
                    Function::Find | Function::FindLast => Known::new(item.clone(), size, steps),
                    Function::Count | Function::FindIndex | Function::FindLastIndex => {
                        Known::number(Kind::Int, steps)
                    }
                    _ => Known::number(Kind::Bool, steps),
                }
            }
        })
    }
}

fn unary(operator: Unary, operand: &Kind, column: usize) -> Result<Kind, FormulaError> {
    match operator {
        Unary::Not => {
            condition(operand, operator.sign(), column)?;
            Ok(Kind::Bool)
        }
        Unary::Minus | Unary::Plus => {
            number(operand, operator.sign(), column)?;
            Ok(operand.clone())
        }
    }
}

fn chained(
    operator: Binary,
    left: &Known,
    right: &Known,
    column: usize,
) -> Result<Known, FormulaError> {
    let steps = left.steps.saturating_add(right.steps);
    let needs = |what: &str, fits: fn(&Kind) -> bool| {
        if fits(&left.kind) && fits(&right.kind) {
            return Ok(());
        }
        let hint = if operator == Binary::Remainder {
            " (int() makes one)"
        } else {
            ""
        };
        let (left, right) = (word(&left.kind), word(&right.kind));
        Err(FormulaError::at(
            column,
            format!(
                "{} needs {what}, got {left} and {right}{hint}",
                operator.sign()
            ),
        ))
    };
    let is_number: fn(&Kind) -> bool = |kind| matches!(kind, Kind::Any | Kind::Int | Kind::Float);
    let kind = match operator {
        Binary::Or | Binary::And => {
            needs("conditions", |kind| matches!(kind, Kind::Any | Kind::Bool))?;
            Kind::Bool
        }
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            needs("numbers", is_number)?;
            Kind::Bool
        }
        Binary::Equal | Binary::NotEqual => {
            if !comparable(&left.kind, &right.kind) {
                let problem = format!(
                    "{} needs values of one kind, got {} and {}",
                    operator.sign(),
                    word(&left.kind),
                    word(&right.kind)
                );
                return Err(FormulaError::at(column, problem));
            }
            return Ok(Known::number(
                Kind::Bool,
                steps.saturating_add(left.size.max(right.size)),
            ));
        }
        Binary::In | Binary::NotIn => {
            let item = element(&right.kind, operator.sign(), column)?;
            if !comparable(&left.kind, &item) {
                let problem = format!(
                    "{} needs a list of {}, got one of {}",
                    operator.sign(),
                    word(&left.kind),
                    word(&item)
                );
                return Err(FormulaError::at(column, problem));
            }
            return Ok(Known::number(Kind::Bool, steps.saturating_add(right.size)));
        }
        Binary::Remainder => {
            needs("whole numbers", |kind| {
                matches!(kind, Kind::Any | Kind::Int)
            })?;
            Kind::Int
        }
        Binary::Divide | Binary::Power => {
            needs("numbers", is_number)?;
            Kind::Float
        }
        Binary::Add | Binary::Subtract | Binary::Multiply => {
            needs("numbers", is_number)?;
            match (&left.kind, &right.kind) {
                (Kind::Int, Kind::Int) => Kind::Int,
                (Kind::Any, _) | (_, Kind::Any) => Kind::Any,
                _ => Kind::Float,
            }
        }
        Binary::Otherwise => {
            let kind = match (&left.kind, &right.kind) {
                (Kind::Nil, right) => right.clone(),
                (left, Kind::Nil) => left.clone(),
                (left, right) => either(left.clone(), right.clone()),
            };
            return Ok(Known::new(kind, left.size.max(right.size), steps));
        }
        // Made by the parser alone, of numbers.
        Binary::Range => Kind::Any,
    };
    Ok(Known::number(kind, steps))
}

fn list_of(kind: Kind) -> Kind {
    Kind::List(Box::new(kind))
}

/// What is known of a value that is the one or the other.
fn either(one: Kind, other: Kind) -> Kind {
    match (one, other) {
        (Kind::List(one), Kind::List(other)) => list_of(either(*one, *other)),
        (one, other) if one == other => one,
        _ => Kind::Any,
    }
}

fn comparable(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::Any | Kind::Nil, _) | (_, Kind::Any | Kind::Nil) => true,
        (Kind::Int | Kind::Float, Kind::Int | Kind::Float) => true,
        (Kind::List(one), Kind::List(other)) => comparable(one, other),
        (one, other) => one == other,
    }
}

/// The kind of a list's elements.
fn element(kind: &Kind, whose: &str, column: usize) -> Result<Kind, FormulaError> {
    match kind {
        Kind::List(item) => Ok((**item).clone()),
        Kind::Any => Ok(Kind::Any),
        other => Err(FormulaError::at(
            column,
            format!("{whose} needs a list, got {}", word(other)),
        )),
    }
}

/// What stands in the lists within lists.
fn innermost(kind: &Kind) -> Kind {
    match kind {
        Kind::List(item) => innermost(item),
        other => other.clone(),
    }
}

fn number(kind: &Kind, whose: &str, column: usize) -> Result<(), FormulaError> {
    match kind {
        Kind::Any | Kind::Int | Kind::Float => Ok(()),
        other => Err(FormulaError::at(
            column,
            format!("{whose} needs a number, got {}", word(other)),
        )),
    }
}

fn whole(kind: &Kind, whose: &str, column: usize) -> Result<(), FormulaError> {
    match kind {
        Kind::Any | Kind::Int => Ok(()),
        other => {
            let problem = format!(
                "{whose} needs a whole number, got {} (int() makes one)",
                word(other)
            );
            Err(FormulaError::at(column, problem))
        }
    }
}

fn condition(kind: &Kind, whose: &str, column: usize) -> Result<(), FormulaError> {
    match kind {
        Kind::Any | Kind::Bool => Ok(()),
        other => Err(FormulaError::at(
            column,
            format!("{whose} needs a condition, got {}", word(other)),
        )),
    }
}

fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Any => "any value",
        Kind::Nil => "nil",
        Kind::Bool => "a condition",
        Kind::Int => "a whole number",
        Kind::Float => "a number",
        Kind::List(_) => "a list",
    }
}
