//! Arithmetic over named numbers: a subset of CEL in which every number is a 64-bit float, so that `1 / 2` is a half.
//!
//! Vocabulary: the names, number literals, `+ - * / %`, the comparisons `== != < <= > >=` between numbers, `&&`, `||`,
//! `!`, `? :`, and `x == null` or `x != null` for a value that is missing. Whatever is computed from a missing value,
//! or divides by zero, is missing; a comparison with it is false.

use std::fmt;

use cel::{
    common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators},
    parser::Parser,
};
use serde::{Deserialize, Serialize};

/// Longest source, in bytes.
const MAX_BYTES: usize = 4_096;

/// Deepest brackets and calls.
const MAX_DEPTH: usize = 48;

/// An expression over named numbers, parsed and checked. Two are equal when they were written the same over the same
/// names.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Formula {
    written: Written,
    root: Number,
}

/// How a formula is stored.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Written {
    source: String,
    names: Vec<String>,
}

/// Why a formula was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("formula `{formula}`: {problem}")]
pub struct FormulaError {
    /// The whole formula.
    pub formula: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

#[derive(Clone)]
enum Number {
    Literal(f64),
    Input(usize),
    Negative(Box<Number>),
    Operation(Operator, Box<Number>, Box<Number>),
    Conditional(Box<Truth>, Box<Number>, Box<Number>),
}

#[derive(Clone, Copy)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone)]
enum Truth {
    Literal(bool),
    IsMissing(Number),
    Compare(fn(&f64, &f64) -> bool, Number, Number),
    Not(Box<Truth>),
    All(Vec<Truth>),
    Any(Vec<Truth>),
}

impl Formula {
    /// Parses and checks a formula over these names.
    ///
    /// # Errors
    /// [`FormulaError`] says what is wrong.
    pub fn parse<S: AsRef<str>>(source: &str, names: &[S]) -> Result<Self, FormulaError> {
        let names = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Self::try_from(Written { source: source.to_owned(), names })
    }

    /// The formula as it was written.
    pub fn source(&self) -> &str {
        &self.written.source
    }

    /// The names it may read, in their order.
    pub fn names(&self) -> &[String] {
        &self.written.names
    }

    /// Its value for the values of the names, in their order.
    pub fn value(&self, inputs: &[Option<f64>]) -> Option<f64> {
        self.root.value(inputs).filter(|value| value.is_finite())
    }
}

impl fmt::Debug for Formula {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Formula").field(&self.written.source).finish()
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl From<Formula> for Written {
    fn from(formula: Formula) -> Self {
        formula.written
    }
}

impl TryFrom<Written> for Formula {
    type Error = FormulaError;

    fn try_from(written: Written) -> Result<Self, FormulaError> {
        let refused = |problem: String| FormulaError { formula: written.source.clone(), problem };
        if written.source.len() > MAX_BYTES {
            return Err(refused(format!("has more than {MAX_BYTES} bytes")));
        }
        if brackets(&written.source) > MAX_DEPTH {
            return Err(refused(format!("is nested deeper than {MAX_DEPTH}")));
        }
        let parsed = Parser::new().parse(&written.source).map_err(|errors| {
            let first =
                errors.errors.first().map_or_else(String::new, |error| error.msg.trim().to_owned());
            refused(format!("is not valid CEL: {first}"))
        })?;
        let root =
            Compiler { names: &written.names }.number(&parsed, MAX_DEPTH).map_err(refused)?;
        Ok(Self { root, written })
    }
}

/// How deep brackets are at most, and how many signs or negations follow each other: what the parser recurses over.
fn brackets(source: &str) -> usize {
    let (mut depth, mut deepest, mut prefix) = (0usize, 0, 0usize);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'?' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        prefix = if matches!(byte, b'-' | b'!') { prefix + 1 } else { 0 };
        deepest = deepest.max(depth).max(prefix);
    }
    deepest
}

struct Compiler<'a> {
    names: &'a [String],
}

impl Compiler<'_> {
    fn number(&self, node: &IdedExpr, depth: usize) -> Result<Number, String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!("is nested deeper than {MAX_DEPTH}"));
        };
        match &node.expr {
            Expr::Literal(LiteralValue::Int(value)) => Ok(Number::Literal(*value.inner() as f64)),
            Expr::Literal(LiteralValue::UInt(value)) => Ok(Number::Literal(*value.inner() as f64)),
            Expr::Literal(LiteralValue::Double(value)) => Ok(Number::Literal(*value.inner())),
            Expr::Ident(name) => match self.names.iter().position(|known| known == name) {
                Some(input) => Ok(Number::Input(input)),
                None => Err(format!("there is no input named `{name}`; the inputs are {}", self.names.join(", "))),
            },
            Expr::Call(call) => self.operation(call, depth),
            _ => Err("holds something that is no number: use names, numbers, + - * / %, comparisons and ? :".to_owned()),
        }
    }

    fn operation(&self, call: &CallExpr, depth: usize) -> Result<Number, String> {
        let operator = match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::NEGATE, [value]) => {
                return Ok(Number::Negative(Box::new(self.number(value, depth)?)));
            }
            (operators::CONDITIONAL, [test, yes, no]) => {
                return Ok(Number::Conditional(
                    Box::new(self.truth(test, depth)?),
                    Box::new(self.number(yes, depth)?),
                    Box::new(self.number(no, depth)?),
                ));
            }
            (operators::ADD, _) => Operator::Add,
            (operators::SUBSTRACT, _) => Operator::Subtract,
            (operators::MULTIPLY, _) => Operator::Multiply,
            (operators::DIVIDE, _) => Operator::Divide,
            (operators::MODULO, _) => Operator::Remainder,
            (name, _) => {
                return Err(format!("`{name}` gives no number here: use + - * / % and ? :"));
            }
        };
        let [left, right] = call.args.as_slice() else {
            return Err("holds an operator without two sides".to_owned());
        };
        Ok(Number::Operation(
            operator,
            Box::new(self.number(left, depth)?),
            Box::new(self.number(right, depth)?),
        ))
    }

    fn truth(&self, node: &IdedExpr, depth: usize) -> Result<Truth, String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!("is nested deeper than {MAX_DEPTH}"));
        };
        let call = match &node.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => {
                return Ok(Truth::Literal(*value.inner()));
            }
            Expr::Call(call) => call,
            _ => return Err("holds a condition that compares nothing".to_owned()),
        };
        let all = |parts: &[IdedExpr]| -> Result<Vec<Truth>, String> {
            parts.iter().map(|part| self.truth(part, depth)).collect()
        };
        let compare: fn(&f64, &f64) -> bool = match (call.func_name.as_str(), call.args.as_slice())
        {
            (operators::LOGICAL_AND, parts) => return Ok(Truth::All(all(parts)?)),
            (operators::LOGICAL_OR, parts) => return Ok(Truth::Any(all(parts)?)),
            (operators::LOGICAL_NOT, [part]) => {
                return Ok(Truth::Not(Box::new(self.truth(part, depth)?)));
            }
            (name @ (operators::EQUALS | operators::NOT_EQUALS), [value, null] | [null, value])
                if matches!(null.expr, Expr::Literal(LiteralValue::Null)) =>
            {
                let missing = Truth::IsMissing(self.number(value, depth)?);
                return Ok(if name == operators::EQUALS {
                    missing
                } else {
                    Truth::Not(Box::new(missing))
                });
            }
            (operators::EQUALS, _) => f64::eq,
            (operators::NOT_EQUALS, _) => f64::ne,
            (operators::LESS, _) => f64::lt,
            (operators::LESS_EQUALS, _) => f64::le,
            (operators::GREATER, _) => f64::gt,
            (operators::GREATER_EQUALS, _) => f64::ge,
            (name, _) => {
                return Err(format!("`{name}` is no condition: use comparisons, &&, || and !"));
            }
        };
        let [left, right] = call.args.as_slice() else {
            return Err("holds a comparison without two sides".to_owned());
        };
        Ok(Truth::Compare(compare, self.number(left, depth)?, self.number(right, depth)?))
    }
}

impl Number {
    fn value(&self, inputs: &[Option<f64>]) -> Option<f64> {
        Some(match self {
            Self::Literal(value) => *value,
            Self::Input(input) => (*inputs.get(*input)?)?,
            Self::Negative(value) => -value.value(inputs)?,
            Self::Operation(operator, left, right) => {
                let (left, right) = (left.value(inputs)?, right.value(inputs)?);
                match operator {
                    Operator::Add => left + right,
                    Operator::Subtract => left - right,
                    Operator::Multiply => left * right,
                    Operator::Divide | Operator::Remainder if right == 0.0 => return None,
                    Operator::Divide => left / right,
                    Operator::Remainder => left % right,
                }
            }
            Self::Conditional(test, yes, no) => {
                return if test.holds(inputs) { yes.value(inputs) } else { no.value(inputs) };
            }
        })
    }
}

impl Truth {
    fn holds(&self, inputs: &[Option<f64>]) -> bool {
        match self {
            Self::Literal(value) => *value,
            Self::IsMissing(value) => value.value(inputs).is_none(),
            Self::Compare(compare, left, right) => {
                match (left.value(inputs), right.value(inputs)) {
                    (Some(left), Some(right)) => compare(&left, &right),
                    _ => false,
                }
            }
            Self::Not(part) => !part.holds(inputs),
            Self::All(parts) => parts.iter().all(|part| part.holds(inputs)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(inputs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["a", "b"];

    fn value(source: &str, inputs: [Option<f64>; 2]) -> Option<f64> {
        Formula::parse(source, &NAMES).expect(source).value(&inputs)
    }

    #[test]
    fn arithmetic_is_that_of_fractions() {
        for (source, expected) in [
            ("a + b * 2", 11.0),
            ("(a + b) / 2", 3.5),
            ("1 / 2", 0.5),
            ("-a - -b", 1.0),
            ("b % a", 1.0),
            ("100.0 * (a - b) / b", -25.0),
            ("a < b && !(a == 2.0) ? a : b", 3.0),
            ("a >= 3 || false ? 1 : 0", 1.0),
        ] {
            assert_eq!(value(source, [Some(3.0), Some(4.0)]), Some(expected), "{source}");
        }
    }

    #[test]
    fn what_is_missing_stays_missing_unless_it_is_asked_for() {
        for (source, expected) in [
            ("a + b", None),
            ("b / 0", None),
            ("b / (b - b)", None),
            ("a == null ? 0 : a", Some(0.0)),
            ("a != null ? a : b", Some(4.0)),
            // A comparison with it is false.
            ("a < b ? 1 : 2", Some(2.0)),
            ("!(a < b) ? 1 : 2", Some(1.0)),
        ] {
            assert_eq!(value(source, [None, Some(4.0)]), expected, "{source}");
        }
    }

    #[test]
    fn what_is_no_arithmetic_is_refused() {
        let deep = format!("{}a{}", "(".repeat(200), ")".repeat(200));
        let signs = format!("{}a", "-".repeat(200));
        for source in [
            "",
            "a +",
            "c",
            "a && b",
            "a == b",
            "size(a)",
            "'x'",
            "[a]",
            "a.b",
            "a ? 1 : 2",
            &deep,
            &signs,
        ] {
            assert!(Formula::parse(source, &NAMES).is_err(), "{source}");
        }
        assert!(Formula::parse(&"a+".repeat(5_000), &NAMES).is_err());
    }

    #[test]
    fn a_formula_travels_as_its_text() {
        let formula = Formula::parse("a / b", &NAMES).expect("a formula");
        let json = serde_json::to_string(&formula).expect("json");
        assert_eq!(serde_json::from_str::<Formula>(&json).expect("a formula"), formula);
        assert!(serde_json::from_str::<Formula>(&json.replace("a / b", "a / c")).is_err());
    }
}
