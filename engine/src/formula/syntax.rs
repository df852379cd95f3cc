//! What a formula is made of.

use super::function::Function;

/// A part of a formula, with the columns where it can fail.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// The value of a trigger, by its position among the names.
    Trigger(usize),
    /// The value of a `let`, by its position among those around it, from the outermost.
    Local(usize),
    /// In a predicate: `#`, `#index`, `#acc`.
    Element,
    Index,
    Accumulator,
    List(Vec<Node>),
    /// All whole numbers from the first to the second.
    Range(i64, i64),
    Unary {
        operator: Unary,
        operand: Box<Node>,
        column: usize,
    },
    /// Operators that bind alike, from left to right. Long sums nest no deeper than short ones by it.
    Chain {
        first: Box<Node>,
        rest: Vec<Link>,
    },
    Conditional {
        condition: Box<Node>,
        yes: Box<Node>,
        no: Box<Node>,
        column: usize,
    },
    Let {
        value: Box<Node>,
        body: Box<Node>,
    },
    Call {
        function: Function,
        arguments: Vec<Node>,
        predicate: Option<Box<Node>>,
        column: usize,
    },
    /// `list[index]`.
    At {
        list: Box<Node>,
        index: Box<Node>,
        column: usize,
    },
    /// `list[from:to]`.
    Slice {
        list: Box<Node>,
        from: Option<Box<Node>>,
        to: Option<Box<Node>>,
        column: usize,
    },
}

/// One operator of a chain, and what stands to its right.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    pub(super) operator: Binary,
    pub(super) operand: Node,
    pub(super) column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    Minus,
    Plus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
    /// `??`.
    Otherwise,
}

impl Unary {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Not => "not",
            Self::Minus => "-",
            Self::Plus => "+",
        }
    }
}

impl Binary {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::NotIn => "not in",
            Self::Range => "..",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Power => "**",
            Self::Otherwise => "??",
        }
    }

    pub(super) fn compares(self) -> bool {
        matches!(
            self,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
        )
    }

    /// How strongly it binds: expr's order, in which `??` binds strongest.
    pub(super) fn precedence(self) -> u32 {
        match self {
            Self::Or => 10,
            Self::And => 15,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::In
            | Self::NotIn => 20,
            Self::Range => 25,
            Self::Add | Self::Subtract => 30,
            Self::Multiply | Self::Divide | Self::Remainder => 60,
            Self::Power => 100,
            Self::Otherwise => 500,
        }
    }
}

/// The precedence of `not` and `!`, and of a sign before a number.
pub(super) const NOT: u32 = 50;
pub(super) const SIGNED: u32 = 90;
