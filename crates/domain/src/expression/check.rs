//! What an expression may say, and how large it may be: both are decided before
//! anything is computed.

use std::sync::Arc;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelString;
use cel::{Context, Value};

use super::{ENVIRONMENT, InvalidCondition, MAX_CONDITION_BYTES};

/// Most brackets of a condition that may be open at once, and most `?` in it.
/// The parser recurses for each, so its stack must be bounded before it runs.
pub(super) const MAX_NESTING: usize = 32;

/// Deepest expression. Deciding a condition recurses on the caller's stack, and
/// takes 40 KiB a level without optimisation. Chains of `&&` and `||` are
/// balanced by the parser, so they hardly count.
pub(super) const MAX_DEPTH: usize = 24;

const PARSER_STACK_BYTES: usize = 32 << 20;

/// What a condition may look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Vocabulary {
    /// `event` and `properties`.
    Event,
    /// `attributes`, a map of strings.
    Attributes,
    /// `body`, `item` and `headers` of a webhook.
    Payload,
    /// `value`, `values`, `previous` and `dimensions` of a row of an answer.
    Row,
}

impl Vocabulary {
    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Event => &["event", "properties"],
            Self::Attributes => &["attributes"],
            Self::Payload => &["body", "item", "headers"],
            Self::Row => &["value", "values", "previous", "dimensions"],
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Event => "use `event` or `properties`",
            Self::Attributes => "use `attributes`",
            Self::Payload => "use `item`, `body` or `headers`",
            Self::Row => "use `value`, `values`, `previous` or `dimensions`",
        }
    }
}

const EVENT_FIELDS: [&str; 5] = ["name", "source", "user_id", "anonymous_id", "account_id"];

const FUNCTIONS: [&str; 39] = [
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
    operators::ADD,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::CONDITIONAL,
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "double",
    "bool",
    "timestamp",
    "duration",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

/// What keeps the parser within its bounds.
pub(super) fn check_size(source: &str) -> Result<(), InvalidCondition> {
    if source.len() > MAX_CONDITION_BYTES {
        return Err(InvalidCondition::TooLong(source.len()));
    }
    if nesting(source) > MAX_NESTING {
        return Err(InvalidCondition::TooDeep);
    }
    Ok(())
}

/// Parses and checks a source, and compiles it where the parser's stack is.
pub(super) fn parse<T: Send>(
    source: &str,
    vocabulary: Vocabulary,
    compile: impl FnOnce(&IdedExpr) -> T + Send,
) -> Result<T, InvalidCondition> {
    check_size(source)?;
    on_a_deep_stack(|| {
        let program = ENVIRONMENT
            .compile(source)
            .map_err(|errors| InvalidCondition::Syntax(one_line(&errors.to_string())))?;
        check(program.expression(), vocabulary, MAX_DEPTH)?;
        Ok(compile(program.expression()))
    })
}

pub(super) fn is_event(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == "event")
}

/// Refuses what is outside the vocabulary, and trees deeper than `depth`.
fn check(
    expression: &IdedExpr,
    vocabulary: Vocabulary,
    depth: usize,
) -> Result<(), InvalidCondition> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(InvalidCondition::TooDeep);
    };
    let unsupported =
        |construct: String, hint| Err(InvalidCondition::Unsupported { construct, hint });
    match &expression.expr {
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if vocabulary.variables().contains(&name.as_str()) => Ok(()),
        Expr::Ident(name) => unsupported(format!("the variable `{name}`"), vocabulary.hint()),
        Expr::Select(select) if vocabulary == Vocabulary::Event && is_event(&select.operand) => {
            if EVENT_FIELDS.contains(&select.field.as_str()) {
                Ok(())
            } else {
                unsupported(
                    format!("`event.{}`", select.field),
                    "an event has name, source, user_id, anonymous_id and account_id; the rest \
                     is in `properties`",
                )
            }
        }
        Expr::Select(select) => check(&select.operand, vocabulary, depth),
        Expr::List(list) => {
            list.elements.iter().try_for_each(|element| check(element, vocabulary, depth))
        }
        Expr::Call(call) => check_call(call, vocabulary, depth),
        Expr::Comprehension(_) => unsupported(
            "a macro over a list".to_owned(),
            "test membership with `in` or size with `size()`",
        ),
        Expr::Map(_) | Expr::Struct(_) => {
            unsupported("a map or message literal".to_owned(), "compare single fields")
        }
        Expr::Unspecified => unsupported("an empty expression".to_owned(), "write a comparison"),
    }
}

fn check_call(
    call: &CallExpr,
    vocabulary: Vocabulary,
    depth: usize,
) -> Result<(), InvalidCondition> {
    let name = call.func_name.as_str();
    if !FUNCTIONS.contains(&name) {
        return Err(InvalidCondition::Unsupported {
            construct: format!("the function `{name}`"),
            hint: "use comparisons and the CEL standard functions on strings, numbers and times",
        });
    }
    if name == operators::INDEX && call.args.first().is_some_and(is_event) {
        return Err(InvalidCondition::Unsupported {
            construct: "`event[..]`".to_owned(),
            hint: "write `event.name`",
        });
    }
    if name == "matches" {
        check_pattern(call)?;
    }
    call.target
        .as_deref()
        .into_iter()
        .chain(&call.args)
        .try_for_each(|argument| check(argument, vocabulary, depth))
}

/// A pattern must be a literal, and valid, because a broken one would only show
/// as a condition that never holds.
fn check_pattern(call: &CallExpr) -> Result<(), InvalidCondition> {
    let Some(Expr::Literal(LiteralValue::String(_))) = call.args.last().map(|last| &last.expr)
    else {
        return Err(InvalidCondition::Unsupported {
            construct: "a pattern that is not a string literal".to_owned(),
            hint: "write the regular expression into the condition",
        });
    };
    let mut trial = call.clone();
    let subject = trial.target.as_deref_mut().or_else(|| trial.args.first_mut());
    if let Some(subject) = subject {
        subject.expr = Expr::Literal(LiteralValue::String(CelString::from(String::new())));
    }
    let trial = IdedExpr { id: 0, expr: Expr::Call(trial) };
    match Value::resolve(&trial, &Context::with_env(Arc::clone(&ENVIRONMENT))) {
        Ok(_) => Ok(()),
        Err(error) => Err(InvalidCondition::Syntax(one_line(&error.to_string()))),
    }
}

/// Runs the parser on a thread of its own: without optimisation it takes more
/// than 100 KiB of stack for each open bracket.
fn on_a_deep_stack<T: Send>(
    parse: impl FnOnce() -> Result<T, InvalidCondition> + Send,
) -> Result<T, InvalidCondition> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(PARSER_STACK_BYTES)
            .spawn_scoped(scope, parse)
            .map_err(|error| InvalidCondition::Syntax(format!("no thread to parse it: {error}")))?
            .join()
            .unwrap_or_else(|_| Err(InvalidCondition::Syntax("the parser gave up".to_owned())))
    })
}

/// An upper bound of how deeply the parser recurses. Brackets inside of strings
/// count as well, which refuses no condition a person would write.
fn nesting(source: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'?' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

/// The parser draws the place over several lines; an error is one.
fn one_line(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches("ERROR: <input>:").to_owned()
}
