//! A formula's value. What it may cost was checked before: here nothing counts steps.

use std::cmp::Ordering;
use std::sync::Arc;

use super::function::Function;
use super::syntax::{Binary, Node, Unary};

/// A value. Lists are shared, so that taking one of a `let` again costs nothing.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    List(Arc<[Value]>),
}

type Evaluated = Result<Value, String>;

/// The formula's value as a number, or nil where that is allowed.
pub(super) fn evaluate(
    node: &Node,
    triggers: &[Option<f64>],
    may_be_nil: bool,
) -> Result<Option<f64>, String> {
    let scope = Scope {
        triggers,
        locals: None,
        element: None,
    };
    match value(node, &scope)? {
        Value::Int(number) => Ok(Some(number as f64)),
        Value::Float(number) => Ok(Some(number)),
        Value::Nil if may_be_nil => Ok(None),
        other => Err(format!(
            "the formula gives {}: expected a number",
            word(&other)
        )),
    }
}

/// What names stand for, from the inside out.
struct Scope<'a> {
    triggers: &'a [Option<f64>],
    locals: Option<&'a Local<'a>>,
    element: Option<Element>,
}

struct Local<'a> {
    index: usize,
    value: Value,
    outer: Option<&'a Local<'a>>,
}

#[derive(Clone)]
struct Element {
    item: Value,
    index: usize,
    accumulator: Value,
}

fn value(node: &Node, scope: &Scope<'_>) -> Evaluated {
    Ok(match node {
        Node::Nil => Value::Nil,
        Node::Bool(truth) => Value::Bool(*truth),
        Node::Int(number) => Value::Int(*number),
        Node::Float(number) => Value::Float(*number),
        Node::Trigger(index) => scope
            .triggers
            .get(*index)
            .copied()
            .flatten()
            .map_or(Value::Nil, Value::Float),
        Node::Local(index) => {
            let mut local = scope.locals;
            while let Some(found) = local.filter(|local| local.index != *index) {
                local = found.outer;
            }
            local.map_or(Value::Nil, |local| local.value.clone())
        }
        Node::Element => scope
            .element
            .as_ref()
            .map_or(Value::Nil, |element| element.item.clone()),
        Node::Index => scope
            .element
            .as_ref()
            .map_or(Value::Nil, |element| Value::Int(element.index as i64)),
        Node::Accumulator => scope
            .element
            .as_ref()
            .map_or(Value::Nil, |element| element.accumulator.clone()),
        Node::List(nodes) => Value::List(
            nodes
                .iter()
                .map(|node| value(node, scope))
                .collect::<Result<_, _>>()?,
        ),
        Node::Range(from, to) => Value::List((*from..=*to).map(Value::Int).collect()),
        Node::Unary {
            operator, operand, ..
        } => match (operator, value(operand, scope)?) {
            (Unary::Not, Value::Bool(truth)) => Value::Bool(!truth),
            (Unary::Not, other) => {
                return Err(format!("not needs a condition, got {}", word(&other)));
            }
            (Unary::Minus, Value::Int(number)) => Value::Int(number.wrapping_neg()),
            (Unary::Minus, Value::Float(number)) => Value::Float(-number),
            (Unary::Plus, number @ (Value::Int(_) | Value::Float(_))) => number,
            (sign, other) => {
                return Err(format!(
                    "{} needs a number, got {}",
                    sign.sign(),
                    word(&other)
                ));
            }
        },
        Node::Chain { first, rest } => {
            let mut left = value(first, scope)?;
            for link in rest {
                left = linked(link.operator, left, &link.operand, scope)?;
            }
            left
        }
        Node::Conditional {
            condition, yes, no, ..
        } => {
            let branch = if truth(value(condition, scope)?, "?")? {
                yes
            } else {
                no
            };
            value(branch, scope)?
        }
        Node::Let { value: bound, body } => {
            let local = Local {
                index: scope.locals.map_or(0, |outer| outer.index + 1),
                value: value(bound, scope)?,
                outer: scope.locals,
            };
            let inner = Scope {
                triggers: scope.triggers,
                locals: Some(&local),
                element: scope.element.clone(),
            };
            value(body, &inner)?
        }
        Node::At { list, index, .. } => {
            let list = items(value(list, scope)?, "[]")?;
            let index = whole(value(index, scope)?, "[]")?;
            let length = list.len() as i64;
            let from_start = if index < 0 {
                index.saturating_add(length)
            } else {
                index
            };
            let found = usize::try_from(from_start).ok().and_then(|at| list.get(at));
            found
                .cloned()
                .ok_or_else(|| format!("index {index} is beyond the end of a list of {length}"))?
        }
        Node::Slice { list, from, to, .. } => {
            let list = items(value(list, scope)?, "[]")?;
            let bound = |node: &Option<Box<Node>>, default: usize| match node {
                Some(node) => {
                    Ok::<_, String>(position(whole(value(node, scope)?, "[]")?, list.len()))
                }
                None => Ok(default),
            };
            let to = bound(to, list.len())?;
            let from = bound(from, 0)?.min(to);
            Value::List(list[from..to].into())
        }
        Node::Call {
            function,
            arguments,
            predicate,
            ..
        } => {
            let arguments = arguments
                .iter()
                .map(|node| value(node, scope))
                .collect::<Result<Vec<_>, _>>()?;
            match predicate {
                Some(predicate) => over_each(*function, arguments, predicate, scope)?,
                None => call(*function, arguments)?,
            }
        }
    })
}

/// `left operator right`; the right side of `and`, `or` and `??` only where it counts.
fn linked(operator: Binary, left: Value, right: &Node, scope: &Scope<'_>) -> Evaluated {
    match operator {
        Binary::And => {
            return Ok(Value::Bool(
                truth(left, "and")? && truth(value(right, scope)?, "and")?,
            ));
        }
        Binary::Or => {
            return Ok(Value::Bool(
                truth(left, "or")? || truth(value(right, scope)?, "or")?,
            ));
        }
        Binary::Otherwise if left != Value::Nil => return Ok(left),
        _ => {}
    }
    let right = value(right, scope)?;
    Ok(match operator {
        Binary::Otherwise => right,
        Binary::Equal => Value::Bool(equal(&left, &right)),
        Binary::NotEqual => Value::Bool(!equal(&left, &right)),
        Binary::In | Binary::NotIn => {
            let found = items(right, "in")?.iter().any(|item| equal(item, &left));
            Value::Bool(found == (operator == Binary::In))
        }
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            let order = compared(&left, &right, operator.sign())?;
            Value::Bool(order.is_some_and(|order| match operator {
                Binary::Less => order.is_lt(),
                Binary::LessOrEqual => order.is_le(),
                Binary::Greater => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        _ => arithmetic(operator, &left, &right)?,
    })
}

/// Whole numbers stay whole but for `/` and `**`, and wrap around, as Go's do.
fn arithmetic(operator: Binary, left: &Value, right: &Value) -> Evaluated {
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        match operator {
            Binary::Add => return Ok(Value::Int(left.wrapping_add(*right))),
            Binary::Subtract => return Ok(Value::Int(left.wrapping_sub(*right))),
            Binary::Multiply => return Ok(Value::Int(left.wrapping_mul(*right))),
            Binary::Remainder if *right == 0 => return Err("% by 0".to_owned()),
            Binary::Remainder => return Ok(Value::Int(left.wrapping_rem(*right))),
            _ => {}
        }
    }
    let number = |value: &Value| number(value, operator.sign());
    let (left, right) = (number(left)?, number(right)?);
    Ok(Value::Float(match operator {
        Binary::Add => left + right,
        Binary::Subtract => left - right,
        Binary::Multiply => left * right,
        Binary::Divide => left / right,
        Binary::Power => left.powf(right),
        other => return Err(format!("{} needs whole numbers", other.sign())),
    }))
}

fn call(function: Function, arguments: Vec<Value>) -> Evaluated {
    let name = format!("{}()", function.name());
    let mut arguments = arguments.into_iter();
    let Some(first) = arguments.next() else {
        return Err(format!("{name} takes an argument"));
    };
    Ok(match function {
        Function::Abs => match first {
            Value::Int(number) => Value::Int(number.wrapping_abs()),
            other => Value::Float(number(&other, &name)?.abs()),
        },
        Function::Ceil => Value::Float(number(&first, &name)?.ceil()),
        Function::Floor => Value::Float(number(&first, &name)?.floor()),
        Function::Round => Value::Float(number(&first, &name)?.round()),
        Function::Float => Value::Float(number(&first, &name)?),
        Function::Int => match first {
            Value::Int(number) => Value::Int(number),
            // Cut off behind the point; beyond what a whole number holds, the nearest that it does.
            other => Value::Int(number(&other, &name)? as i64),
        },
        Function::Max | Function::Min | Function::Mean | Function::Median => {
            let mut numbers = Vec::new();
            collect_numbers(&first, &name, &mut numbers)?;
            for argument in arguments {
                collect_numbers(&argument, &name, &mut numbers)?;
            }
            aggregate(function, numbers)
        }
        Function::Concat => {
            let mut all = items(first, &name)?.to_vec();
            for argument in arguments {
                all.extend_from_slice(&items(argument, &name)?);
            }
            Value::List(all.into())
        }
        Function::Len => Value::Int(items(first, &name)?.len() as i64),
        Function::First => items(first, &name)?.first().cloned().unwrap_or(Value::Nil),
        Function::Last => items(first, &name)?.last().cloned().unwrap_or(Value::Nil),
        Function::Get | Function::Take => {
            let list = items(first, &name)?;
            let index = whole(arguments.next().unwrap_or(Value::Nil), &name)?;
            if function == Function::Get {
                let from_start = if index < 0 {
                    index.saturating_add(list.len() as i64)
                } else {
                    index
                };
                usize::try_from(from_start)
                    .ok()
                    .and_then(|at| list.get(at))
                    .cloned()
                    .unwrap_or(Value::Nil)
            } else {
                let count = usize::try_from(index)
                    .map_err(|_| format!("{name} can't take {index} elements"))?;
                Value::List(list[..count.min(list.len())].into())
            }
        }
        Function::Reverse => Value::List(items(first, &name)?.iter().rev().cloned().collect()),
        Function::Uniq => {
            let mut unique: Vec<Value> = Vec::new();
            for item in items(first, &name)?.iter() {
                if !unique.iter().any(|known| equal(known, item)) {
                    unique.push(item.clone());
                }
            }
            Value::List(unique.into())
        }
        Function::Sort => {
            let list = items(first, &name)?;
            sorted(
                list.iter()
                    .map(|item| Ok((number(item, &name)?, item.clone())))
                    .collect::<Result<_, String>>()?,
            )
        }
        Function::Flatten => {
            let mut flat = Vec::new();
            flatten(&items(first, &name)?, &mut flat);
            Value::List(flat.into())
        }
        Function::Sum => {
            let mut sum = Value::Int(0);
            for item in items(first, &name)?.iter() {
                sum = arithmetic(Binary::Add, &sum, item)?;
            }
            sum
        }
        Function::Count => {
            let mut count = 0;
            for item in items(first, &name)?.iter() {
                count += i64::from(truth(item.clone(), &name)?);
            }
            Value::Int(count)
        }
        // The others take a predicate: the parser sees to it.
        _ => return Err(format!("{name} takes a predicate")),
    })
}

/// A function that asks `predicate` about each element.
fn over_each(
    function: Function,
    arguments: Vec<Value>,
    predicate: &Node,
    scope: &Scope<'_>,
) -> Evaluated {
    let name = format!("{}()", function.name());
    let mut arguments = arguments.into_iter();
    let list = items(arguments.next().unwrap_or(Value::Nil), &name)?;
    let ask = |index: usize, accumulator: Value| {
        let element = Element {
            item: list.get(index).cloned().unwrap_or(Value::Nil),
            index,
            accumulator,
        };
        value(
            predicate,
            &Scope {
                triggers: scope.triggers,
                locals: scope.locals,
                element: Some(element),
            },
        )
    };
    let holds = |index: usize| truth(ask(index, Value::Nil)?, &name);
    let all = 0..list.len();
    let find = |mut order: Box<dyn Iterator<Item = usize>>| -> Result<Option<usize>, String> {
        order
            .find_map(|index| match holds(index) {
                Ok(true) => Some(Ok(index)),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            })
            .transpose()
    };
    let element = |at: Option<usize>| {
        at.and_then(|at| list.get(at))
            .cloned()
            .unwrap_or(Value::Nil)
    };
    let index = |at: Option<usize>| at.map_or(Value::Nil, |at| Value::Int(at as i64));
    Ok(match function {
        Function::Any => Value::Bool(find(Box::new(all))?.is_some()),
        Function::None => Value::Bool(find(Box::new(all))?.is_none()),
        Function::Find => element(find(Box::new(all))?),
        Function::FindIndex => index(find(Box::new(all))?),
        Function::FindLast => element(find(Box::new(all.rev()))?),
        Function::FindLastIndex => index(find(Box::new(all.rev()))?),
        Function::All => {
            for index in all {
                if !holds(index)? {
                    return Ok(Value::Bool(false));
                }
            }
            Value::Bool(true)
        }
        Function::Count | Function::One | Function::Filter => {
            let mut found = Vec::new();
            for (index, item) in list.iter().enumerate() {
                if holds(index)? {
                    found.push(item.clone());
                }
            }
            match function {
                Function::Count => Value::Int(found.len() as i64),
                Function::One => Value::Bool(found.len() == 1),
                _ => Value::List(found.into()),
            }
        }
        Function::Map => Value::List(
            all.map(|index| ask(index, Value::Nil))
                .collect::<Result<_, _>>()?,
        ),
        Function::Sum => {
            let mut sum = Value::Int(0);
            for index in all {
                sum = arithmetic(Binary::Add, &sum, &ask(index, Value::Nil)?)?;
            }
            sum
        }
        Function::SortBy => {
            let keyed = list
                .iter()
                .enumerate()
                .map(|(index, item)| Ok((number(&ask(index, Value::Nil)?, &name)?, item.clone())));
            sorted(keyed.collect::<Result<_, String>>()?)
        }
        Function::Reduce => {
            let (mut accumulator, from) = match (arguments.next(), list.first()) {
                (Some(initial), _) => (initial, 0),
                (None, Some(first)) => (first.clone(), 1),
                (None, None) => {
                    return Err("reduce() of an empty list needs an initial value".to_owned());
                }
            };
            for index in from..list.len() {
                accumulator = ask(index, accumulator)?;
            }
            accumulator
        }
        _ => return Err(format!("{name} takes no predicate")),
    })
}

fn aggregate(function: Function, mut numbers: Vec<Value>) -> Value {
    let float = |value: &Value| {
        if let Value::Int(number) = value {
            *number as f64
        } else if let Value::Float(number) = value {
            *number
        } else {
            f64::NAN
        }
    };
    if matches!(function, Function::Max | Function::Min) {
        let wanted = if function == Function::Max {
            Ordering::Greater
        } else {
            Ordering::Less
        };
        let best = numbers.into_iter().reduce(|best, next| {
            if compared(&next, &best, "").ok().flatten() == Some(wanted) {
                next
            } else {
                best
            }
        });
        return best.unwrap_or(Value::Nil);
    }
    if numbers.is_empty() {
        return Value::Float(0.0);
    }
    let count = numbers.len();
    if function == Function::Mean {
        return Value::Float(numbers.iter().map(float).sum::<f64>() / count as f64);
    }
    numbers.sort_by(|a, b| float(a).total_cmp(&float(b)));
    let middle = numbers.get(count / 2).map_or(f64::NAN, float);
    let before = numbers
        .get((count / 2).saturating_sub(1))
        .map_or(f64::NAN, float);
    Value::Float(if count.is_multiple_of(2) {
        (before + middle) / 2.0
    } else {
        middle
    })
}

/// The numbers of a number, or of a list and the lists in it.
fn collect_numbers(value: &Value, whose: &str, into: &mut Vec<Value>) -> Result<(), String> {
    match value {
        Value::List(items) => items
            .iter()
            .try_for_each(|item| collect_numbers(item, whose, into)),
        Value::Int(_) | Value::Float(_) => {
            into.push(value.clone());
            Ok(())
        }
        other => Err(format!("{whose} needs numbers, got {}", word(other))),
    }
}

fn sorted(mut keyed: Vec<(f64, Value)>) -> Value {
    keyed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    Value::List(keyed.into_iter().map(|(_, item)| item).collect())
}

fn flatten(list: &[Value], into: &mut Vec<Value>) {
    for item in list {
        match item {
            Value::List(items) => flatten(items, into),
            other => into.push(other.clone()),
        }
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Int(left), Value::Float(right)) | (Value::Float(right), Value::Int(left)) => {
            *left as f64 == *right
        }
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right.iter())
                    .all(|(left, right)| equal(left, right))
        }
        (left, right) => left == right,
    }
}

fn compared(left: &Value, right: &Value, sign: &str) -> Result<Option<Ordering>, String> {
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        return Ok(Some(left.cmp(right)));
    }
    Ok(number(left, sign)?.partial_cmp(&number(right, sign)?))
}

fn position(index: i64, length: usize) -> usize {
    let from_start = if index < 0 {
        index.saturating_add(length as i64).max(0)
    } else {
        index
    };
    usize::try_from(from_start).unwrap_or(length).min(length)
}

fn number(value: &Value, whose: &str) -> Result<f64, String> {
    match value {
        Value::Int(number) => Ok(*number as f64),
        Value::Float(number) => Ok(*number),
        other => Err(format!("{whose} needs numbers, got {}", word(other))),
    }
}

fn whole(value: Value, whose: &str) -> Result<i64, String> {
    match value {
        Value::Int(number) => Ok(number),
        other => Err(format!(
            "{whose} needs a whole number, got {}",
            word(&other)
        )),
    }
}

fn truth(value: Value, whose: &str) -> Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(truth),
        other => Err(format!("{whose} needs a condition, got {}", word(&other))),
    }
}

fn items(value: Value, whose: &str) -> Result<Arc<[Value]>, String> {
    match value {
        Value::List(items) => Ok(items),
        other => Err(format!("{whose} needs a list, got {}", word(&other))),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::List(_) => "a list".to_owned(),
    }
}
