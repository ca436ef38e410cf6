//! One test of one value: the single place that says what a comparison means.

use regex::Regex;

use crate::segment::Scalar;

/// A literal of a filter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Bool(bool),
    Number(f64),
    Text(String),
}

/// Order of a comparison, operand on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The same comparison with the sides swapped.
    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Equal | Self::NotEqual => self,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }

    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// A test of a value.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Compare(Comparison, Literal),
    OneOf(Vec<Literal>),
    IsNull,
    IsTrue,
    IsPresent,
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Matches(Regex),
}

impl Test {
    /// Whether a value passes; `None` is a missing one.
    pub(crate) fn passes(&self, value: Option<Scalar<'_>>) -> bool {
        let Some(value) = value else { return matches!(self, Self::IsNull) };
        match self {
            Self::IsPresent => true,
            Self::IsNull => matches!(value, Scalar::Null),
            Self::IsTrue => matches!(value, Scalar::Bool(true)),
            Self::Compare(comparison, literal) => compare(value, *comparison, literal),
            Self::OneOf(literals) => {
                literals.iter().any(|literal| compare(value, Comparison::Equal, literal))
            }
            Self::StartsWith(part) => {
                text(value).is_some_and(|text| text.starts_with(part.as_str()))
            }
            Self::EndsWith(part) => text(value).is_some_and(|text| text.ends_with(part.as_str())),
            Self::Contains(part) => text(value).is_some_and(|text| text.contains(part.as_str())),
            Self::Matches(pattern) => text(value).is_some_and(|text| pattern.is_match(text)),
        }
    }
}

fn text(value: Scalar<'_>) -> Option<&str> {
    if let Scalar::Str(text) = value { Some(text) } else { None }
}

fn compare(value: Scalar<'_>, comparison: Comparison, literal: &Literal) -> bool {
    match (value, literal) {
        (Scalar::Str(left), Literal::Text(right)) => comparison.holds(&left, &right.as_str()),
        (Scalar::Bool(left), Literal::Bool(right)) => comparison.holds(&left, right),
        (Scalar::Int(_) | Scalar::Float(_), Literal::Number(right)) => {
            value.number().is_some_and(|left| comparison.holds(&left, right))
        }
        _ => comparison == Comparison::NotEqual,
    }
}
