//! The functions that a formula may call.

/// A function of expr that is about numbers and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    All,
    Any,
    Ceil,
    Concat,
    Count,
    Filter,
    Find,
    FindIndex,
    FindLast,
    FindLastIndex,
    First,
    Flatten,
    Float,
    Floor,
    Get,
    Int,
    Last,
    Len,
    Map,
    Max,
    Mean,
    Median,
    Min,
    None,
    One,
    Reduce,
    Reverse,
    Round,
    Sort,
    SortBy,
    Sum,
    Take,
    Uniq,
}

/// Whether a function takes a predicate as its second argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predicate {
    Never,
    Optional,
    Always,
}

const ALL: [(&str, Function); 34] = [
    ("abs", Function::Abs),
    ("all", Function::All),
    ("any", Function::Any),
    ("ceil", Function::Ceil),
    ("concat", Function::Concat),
    ("count", Function::Count),
    ("filter", Function::Filter),
    ("find", Function::Find),
    ("findIndex", Function::FindIndex),
    ("findLast", Function::FindLast),
    ("findLastIndex", Function::FindLastIndex),
    ("first", Function::First),
    ("flatten", Function::Flatten),
    ("float", Function::Float),
    ("floor", Function::Floor),
    ("get", Function::Get),
    ("int", Function::Int),
    ("last", Function::Last),
    ("len", Function::Len),
    ("map", Function::Map),
    ("max", Function::Max),
    ("mean", Function::Mean),
    ("median", Function::Median),
    ("min", Function::Min),
    ("none", Function::None),
    ("one", Function::One),
    ("reduce", Function::Reduce),
    ("reverse", Function::Reverse),
    ("round", Function::Round),
    ("sort", Function::Sort),
    ("sortBy", Function::SortBy),
    ("sum", Function::Sum),
    ("take", Function::Take),
    ("uniq", Function::Uniq),
];

impl Function {
    pub(super) fn of_name(name: &str) -> Option<Self> {
        ALL.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, function)| *function)
    }

    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|(name, _)| *name)
    }

    pub(super) fn name(self) -> &'static str {
        ALL.iter()
            .find(|(_, function)| *function == self)
            .map_or("", |(name, _)| name)
    }

    pub(super) fn predicate(self) -> Predicate {
        match self {
            Self::All
            | Self::Any
            | Self::Filter
            | Self::Find
            | Self::FindIndex
            | Self::FindLast
            | Self::FindLastIndex
            | Self::Map
            | Self::None
            | Self::One
            | Self::Reduce
            | Self::SortBy => Predicate::Always,
            Self::Count | Self::Sum => Predicate::Optional,
            _ => Predicate::Never,
        }
    }

    /// How many arguments it takes besides a predicate, at least and at most.
    pub(super) fn arity(self) -> (usize, usize) {
        match self {
            Self::Concat | Self::Max | Self::Mean | Self::Median | Self::Min => (1, usize::MAX),
            Self::Get | Self::Take => (2, 2),
            Self::Reduce => (1, 2),
            _ => (1, 1),
        }
    }
}
