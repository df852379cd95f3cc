//! From tokens to a [`Node`]: expr's grammar, as far as it is about numbers.

use super::FormulaError;
use super::function::{Function, Predicate};
use super::syntax::{Binary, Link, NOT, Node, SIGNED, Unary};
use super::token::{Placed, Token, tokens};
use crate::nearest::nearest;

/// How deep a formula may nest: what reads and evaluates it recurses.
const DEEPEST: usize = 64;

/// Words that are no names.
const WORDS: [&str; 9] = [
    "let", "if", "else", "and", "or", "not", "in", "true", "false",
];

pub(super) fn parse(text: &str, triggers: &[&str]) -> Result<Node, FormulaError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        triggers,
        locals: Vec::new(),
        predicates: Vec::new(),
        depth: 0,
    };
    let node = parser.expression(0)?;
    match parser.peek() {
        Token::End => Ok(node),
        _ => Err(parser.unexpected()),
    }
}

struct Parser<'a> {
    tokens: Vec<Placed>,
    next: usize,
    triggers: &'a [&'a str],
    /// The names that `let` gave, from the outermost.
    locals: Vec<String>,
    /// The functions whose predicates are being read.
    predicates: Vec<Function>,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        // `tokens` ends with `End`, behind which nothing ever steps.
        self.tokens
            .get(self.next)
            .map_or(&Token::End, |placed| &placed.token)
    }

    fn column(&self) -> usize {
        self.tokens.get(self.next).map_or(1, |placed| placed.column)
    }

    fn step(&mut self) -> Token {
        let token = self.peek().clone();
        if token != Token::End {
            self.next += 1;
        }
        token
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Name(name) if name == word)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), FormulaError> {
        if self.take_sign(sign) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn unexpected(&self) -> FormulaError {
        let found = match self.peek() {
            Token::End => return FormulaError::at(self.column(), "the formula ends too soon"),
            Token::Int(number) => number.to_string(),
            Token::Float(number) => number.to_string(),
            Token::Name(name) => name.clone(),
            Token::Sign(sign) => (*sign).to_owned(),
        };
        FormulaError::at(self.column(), format!("unexpected {found:?}"))
    }

    /// Everything that binds at least as strongly as `precedence`; 0 is a whole expression.
    fn expression(&mut self, precedence: u32) -> Result<Node, FormulaError> {
        self.depth += 1;
        self.check_depth(self.depth)?;
        let node = match () {
            () if precedence == 0 && self.is_word("let") => self.variable(),
            () if precedence == 0 && self.is_word("if") => self.if_else(),
            () => self.operation(precedence),
        };
        self.depth -= 1;
        node
    }

    fn check_depth(&self, levels: usize) -> Result<(), FormulaError> {
        if levels <= DEEPEST {
            return Ok(());
        }
        let problem = format!("the formula is nested too deeply (more than {DEEPEST} levels)");
        Err(FormulaError::at(self.column(), problem))
    }

    fn operation(&mut self, precedence: u32) -> Result<Node, FormulaError> {
        let mut left = self.operand()?;
        let mut before: Option<Binary> = None;
        let mut pipes = 0;
        loop {
            let column = self.column();
            if precedence == 0 && self.take_sign("|") {
                pipes += 1;
                self.check_depth(pipes)?;
                let Token::Name(name) = self.step() else {
                    return Err(self.unexpected());
                };
                left = self.call(&name, column, Some(left))?;
                continue;
            }
            let Some(operator) = self.binary().filter(|it| it.precedence() >= precedence) else {
                break;
            };
            if before == Some(Binary::Otherwise) && operator != Binary::Otherwise {
                let problem = format!(
                    "?? and {} stand side by side: put one of them into parentheses",
                    operator.sign()
                );
                return Err(FormulaError::at(column, problem));
            }
            self.next += 1 + usize::from(operator == Binary::NotIn);
            left = if operator.compares() {
                self.comparison(left, operator, column)?
            } else {
                // Powers bind to the right: 2 ** 3 ** 2 is 2 ** 9.
                let operand =
                    self.expression(operator.precedence() + u32::from(operator != Binary::Power))?;
                match operator {
                    Binary::Range => range(&left, &operand).ok_or_else(|| {
                        FormulaError::at(column, "a range needs two whole numbers written out")
                    })?,
                    _ => {
                        let same = before.is_some_and(|before| {
                            before.precedence() == operator.precedence() && !before.compares()
                        });
                        linked(
                            left,
                            same,
                            Link {
                                operator,
                                operand,
                                column,
                            },
                        )
                    }
                }
            };
            before = Some(operator);
        }
        if precedence == 0 {
            left = self.conditional(left)?;
        }
        Ok(left)
    }

    /// The operator that stands here.
    fn binary(&self) -> Option<Binary> {
        Some(match self.peek() {
            Token::Sign(sign) => match *sign {
                "||" => Binary::Or,
                "&&" => Binary::And,
                "==" => Binary::Equal,
                "!=" => Binary::NotEqual,
                "<" => Binary::Less,
                "<=" => Binary::LessOrEqual,
                ">" => Binary::Greater,
                ">=" => Binary::GreaterOrEqual,
                ".." => Binary::Range,
                "+" => Binary::Add,
                "-" => Binary::Subtract,
                "*" => Binary::Multiply,
                "/" => Binary::Divide,
                "%" => Binary::Remainder,
                "**" | "^" => Binary::Power,
                "??" => Binary::Otherwise,
                _ => return None,
            },
            Token::Name(name) => match &**name {
                "or" => Binary::Or,
                "and" => Binary::And,
                "in" => Binary::In,
                "not" if self.tokens.get(self.next + 1)?.token == Token::Name("in".to_owned()) => {
                    Binary::NotIn
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    /// `a < b < c` is `a < b and b < c`.
    fn comparison(
        &mut self,
        first: Node,
        operator: Binary,
        column: usize,
    ) -> Result<Node, FormulaError> {
        let (mut left, mut operator, mut column) = (first, operator, column);
        let mut all: Option<Node> = None;
        loop {
            let right = self.expression(operator.precedence() + 1)?;
            let link = Link {
                operator,
                operand: right.clone(),
                column,
            };
            let this = linked(left, false, link);
            let chained = all.is_some();
            let whole = match all {
                None => this,
                Some(before) => {
                    let is_chain = matches!(&before, Node::Chain { rest, .. } if rest.iter().all(|link| link.operator == Binary::And));
                    linked(
                        before,
                        is_chain && chained,
                        Link {
                            operator: Binary::And,
                            operand: this,
                            column,
                        },
                    )
                }
            };
            match self.binary().filter(|next| next.compares()) {
                Some(next) => {
                    (left, operator, column) = (right, next, self.column());
                    self.next += 1;
                    all = Some(whole);
                }
                None => return Ok(whole),
            }
        }
    }

    fn conditional(&mut self, condition: Node) -> Result<Node, FormulaError> {
        let mut node = condition;
        loop {
            let column = self.column();
            if !self.take_sign("?") {
                return Ok(node);
            }
            let (yes, no) = if self.take_sign(":") {
                (node.clone(), self.expression(0)?)
            } else {
                let yes = self.expression(0)?;
                self.expect(":")?;
                (yes, self.expression(0)?)
            };
            node = Node::Conditional {
                condition: Box::new(node),
                yes: Box::new(yes),
                no: Box::new(no),
                column,
            };
        }
    }

    fn if_else(&mut self) -> Result<Node, FormulaError> {
        let column = self.column();
        self.next += 1;
        let condition = self.expression(0)?;
        let yes = self.block()?;
        if !self.take_word("else") {
            return Err(self.unexpected());
        }
        let no = if self.is_word("if") {
            self.expression(0)?
        } else {
            self.block()?
        };
        Ok(Node::Conditional {
            condition: Box::new(condition),
            yes: Box::new(yes),
            no: Box::new(no),
            column,
        })
    }

    fn block(&mut self) -> Result<Node, FormulaError> {
        self.expect("{")?;
        let node = self.expression(0)?;
        self.expect("}")?;
        Ok(node)
    }

    fn variable(&mut self) -> Result<Node, FormulaError> {
        self.next += 1;
        let column = self.column();
        let name = match self.peek() {
            Token::Name(name) if !WORDS.contains(&&**name) => name.clone(),
            _ => return Err(self.unexpected()),
        };
        self.next += 1;
        if self.locals.contains(&name)
            || self.triggers.contains(&&*name)
            || Function::of_name(&name).is_some()
        {
            return Err(FormulaError::at(
                column,
                format!("the name {name:?} is taken"),
            ));
        }
        self.expect("=")?;
        let value = self.expression(0)?;
        self.expect(";")?;
        self.locals.push(name);
        let body = self.expression(0)?;
        self.locals.pop();
        Ok(Node::Let {
            value: Box::new(value),
            body: Box::new(body),
        })
    }

    fn operand(&mut self) -> Result<Node, FormulaError> {
        let column = self.column();
        let unary = match self.peek() {
            Token::Sign("!") => Some((Unary::Not, NOT)),
            Token::Sign("-") => Some((Unary::Minus, SIGNED)),
            Token::Sign("+") => Some((Unary::Plus, SIGNED)),
            Token::Name(name) if name == "not" => Some((Unary::Not, NOT)),
            _ => None,
        };
        let node = if let Some((operator, precedence)) = unary {
            self.next += 1;
            let operand = Box::new(self.expression(precedence)?);
            Node::Unary {
                operator,
                operand,
                column,
            }
        } else {
            self.plain_operand()?
        };
        self.indexed(node)
    }

    fn plain_operand(&mut self) -> Result<Node, FormulaError> {
        let column = self.column();
        Ok(match self.peek().clone() {
            Token::Int(number) => self.one(Node::Int(number)),
            Token::Float(number) => self.one(Node::Float(number)),
            Token::Sign("(") => {
                self.next += 1;
                let node = self.expression(0)?;
                self.expect(")")?;
                node
            }
            Token::Sign("[") => self.list()?,
            Token::Sign("{") => {
                return Err(FormulaError::at(
                    column,
                    "maps are not supported in formulas",
                ));
            }
            Token::Sign("#") if !self.predicates.is_empty() => {
                self.next += 1;
                self.pointer(column)?
            }
            Token::Name(name) => match &*name {
                "true" => self.one(Node::Bool(true)),
                "false" => self.one(Node::Bool(false)),
                "nil" => self.one(Node::Nil),
                word if WORDS.contains(&word) => return Err(self.unexpected()),
                _ => {
                    self.next += 1;
                    if self.is_sign("(") {
                        self.call(&name, column, None)?
                    } else {
                        self.named(&name, column)?
                    }
                }
            },
            _ => return Err(self.unexpected()),
        })
    }

    fn one(&mut self, node: Node) -> Node {
        self.next += 1;
        node
    }

    fn named(&self, name: &str, column: usize) -> Result<Node, FormulaError> {
        if let Some(local) = self.locals.iter().position(|known| known == name) {
            return Ok(Node::Local(local));
        }
        // A trigger without a name has an empty one.
        if let Some(trigger) = self.triggers.iter().position(|known| *known == name) {
            return Ok(Node::Trigger(trigger));
        }
        let known = self
            .triggers
            .iter()
            .copied()
            .filter(|name| !name.is_empty())
            .chain(self.locals.iter().map(String::as_str));
        let hint = nearest(name, known).map(|near| format!(", did you mean {near:?}?"));
        Err(FormulaError(format!(
            "unknown name {name:?} at column {column}{}",
            hint.unwrap_or_default()
        )))
    }

    /// What follows `#` in a predicate.
    fn pointer(&mut self, column: usize) -> Result<Node, FormulaError> {
        // A name behind it belongs to it only where nothing stands between.
        let Token::Name(name) = self.peek().clone() else {
            return Ok(Node::Element);
        };
        if self.column() != column + 1 {
            return Ok(Node::Element);
        }
        match (&*name, self.predicates.last()) {
            ("acc", Some(Function::Reduce)) => Ok(self.one(Node::Accumulator)),
            ("index", Some(_)) => Ok(self.one(Node::Index)),
            _ => Err(FormulaError::at(
                column,
                format!("unknown name \"#{name}\""),
            )),
        }
    }

    fn list(&mut self) -> Result<Node, FormulaError> {
        self.expect("[")?;
        let mut nodes = Vec::new();
        while !self.is_sign("]") {
            nodes.push(self.expression(0)?);
            if !self.take_sign(",") {
                break;
            }
        }
        self.expect("]")?;
        Ok(Node::List(nodes))
    }

    /// A call from its opening parenthesis on. `piped` is the value that `|` gives it as its first argument.
    fn call(
        &mut self,
        name: &str,
        column: usize,
        piped: Option<Node>,
    ) -> Result<Node, FormulaError> {
        let Some(function) = Function::of_name(name) else {
            let hint =
                nearest(name, Function::names()).map(|near| format!(", did you mean {near:?}?"));
            return Err(FormulaError(format!(
                "unknown function {name:?} at column {column}{}",
                hint.unwrap_or_default()
            )));
        };
        self.expect("(")?;
        let mut arguments: Vec<Node> = piped.into_iter().collect();
        let mut predicate = None;
        while !self.is_sign(")") {
            if arguments.len() == 1
                && predicate.is_none()
                && function.predicate() != Predicate::Never
            {
                predicate = Some(Box::new(self.predicate(function)?));
            } else {
                arguments.push(self.expression(0)?);
            }
            if !self.take_sign(",") {
                break;
            }
        }
        self.expect(")")?;
        if function.predicate() == Predicate::Always && predicate.is_none() {
            let problem = format!("{name}() takes a list and a predicate such as {{# > 1}}");
            return Err(FormulaError::at(column, problem));
        }
        let (least, most) = function.arity();
        if !(least..=most).contains(&arguments.len()) {
            let takes = match (least, most) {
                (1, 1) => "1 argument".to_owned(),
                (_, usize::MAX) => format!("at least {least} argument"),
                (least, most) if least == most => format!("{least} arguments"),
                (least, most) => format!("{least} to {most} arguments"),
            };
            return Err(FormulaError::at(
                column,
                format!("{name}() takes {takes}, got {}", arguments.len()),
            ));
        }
        Ok(Node::Call {
            function,
            arguments,
            predicate,
            column,
        })
    }

    fn predicate(&mut self, function: Function) -> Result<Node, FormulaError> {
        self.predicates.push(function);
        let node = if self.is_sign("{") {
            self.block()
        } else {
            self.expression(0)
        };
        self.predicates.pop();
        node
    }

    /// `[index]` and `[from:to]` behind an operand.
    fn indexed(&mut self, operand: Node) -> Result<Node, FormulaError> {
        let mut node = operand;
        for levels in 1.. {
            self.check_depth(levels)?;
            let column = self.column();
            if self.is_sign(".") || self.is_sign("?.") {
                return Err(FormulaError::at(column, "numbers and lists have no fields"));
            }
            if !self.take_sign("[") {
                break;
            }
            let list = Box::new(node);
            let from = if self.is_sign(":") {
                None
            } else {
                Some(Box::new(self.expression(0)?))
            };
            node = if self.take_sign(":") {
                let to = if self.is_sign("]") {
                    None
                } else {
                    Some(Box::new(self.expression(0)?))
                };
                Node::Slice {
                    list,
                    from,
                    to,
                    column,
                }
            } else {
                let Some(index) = from else {
                    return Err(self.unexpected());
                };
                Node::At {
                    list,
                    index,
                    column,
                }
            };
            self.expect("]")?;
        }
        Ok(node)
    }
}

/// Puts an operator and its right side behind `left`: into its chain, where `left` is one of the same precedence.
fn linked(left: Node, same: bool, link: Link) -> Node {
    match left {
        Node::Chain { first, mut rest } if same => {
            rest.push(link);
            Node::Chain { first, rest }
        }
        left => Node::Chain {
            first: Box::new(left),
            rest: vec![link],
        },
    }
}

/// Only with bounds that are written out can be said how long it is.
fn range(from: &Node, to: &Node) -> Option<Node> {
    let number = |node: &Node| match node {
        Node::Int(number) => Some(*number),
        Node::Unary {
            operator: Unary::Minus,
            operand,
            ..
        } => match **operand {
            Node::Int(number) => number.checked_neg(),
            _ => None,
        },
        _ => None,
    };
    Some(Node::Range(number(from)?, number(to)?))
}
