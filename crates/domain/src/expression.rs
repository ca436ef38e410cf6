//! Conditions on one event, written in CEL: the filter of a subscription and
//! the trigger of an automation.
//!
//! Vocabulary: `event.name` (or `event` alone), `event.source`,
//! `event.user_id`, `event.anonymous_id`, `event.account_id` and `properties`,
//! a map; comparisons, `in`, `&&`, `||`, `!`, `? :`, `has()`, arithmetic and the
//! string, number and time functions of the CEL standard library
//! (<https://github.com/google/cel-spec/blob/master/doc/langdef.md>).
//!
//! A comparison with something the event does not have is **false**, whatever
//! the operator, so `properties.x != 1` is false and `!(properties.x == 1)` is
//! true when there is no `x`. `properties.x == null` is true when `x` is missing
//! or null, `!= null` when it is neither. Values of different types are unequal
//! and unordered. The filters of metrics mean the same.
//!
//! Macros over lists, map and message literals are refused: the time to decide
//! a condition must not grow faster than the event.

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelNull, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, Value};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most bytes of a condition.
pub const MAX_CONDITION_BYTES: usize = 4096;

/// Most brackets of a condition that may be open at once, and most `?` in it.
/// The parser recurses for each, so its stack must be bounded before it runs.
const MAX_NESTING: usize = 32;

/// Deepest expression. Deciding a condition recurses on the caller's stack, and
/// takes 40 KiB a level without optimisation. Chains of `&&` and `||` are
/// balanced by the parser, so they hardly count.
const MAX_DEPTH: usize = 24;

const PARSER_STACK_BYTES: usize = 32 << 20;

/// What a condition looks at. An empty id is one the event does not have.
#[derive(Clone, Copy, Debug)]
pub struct EventFacts<'a> {
    /// What happened.
    pub name: &'a str,
    /// Name of the producing system.
    pub source: &'a str,
    /// Id of a known person.
    pub user_id: &'a str,
    /// Id of a device or session before sign-in.
    pub anonymous_id: &'a str,
    /// Id of the account.
    pub account_id: &'a str,
    /// The properties.
    pub properties: &'a serde_json::Map<String, serde_json::Value>,
}

/// A condition on an event, parsed and checked once. Blank means always. Cheap
/// to clone; in documents it is its text.
#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition {
    source: Arc<str>,
    root: Arc<Node>,
}

/// Why a text is not a condition.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum InvalidCondition {
    /// It is not CEL. Holds what the parser says, with line and column.
    #[error("not a valid CEL expression: {0}")]
    Syntax(String),
    /// It is CEL, but says something that conditions do not.
    #[error("{construct} is not supported here; {hint}")]
    Unsupported {
        /// What.
        construct: String,
        /// What to write instead.
        hint: &'static str,
    },
    /// It is longer than 4,096 bytes.
    #[error("{0} bytes long; a condition has at most {MAX_CONDITION_BYTES}")]
    TooLong(usize),
    /// Its brackets, choices or operators are nested too deeply.
    #[error("nested too deeply: at most {MAX_NESTING} brackets and {MAX_DEPTH} operators deep")]
    TooDeep,
}

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

/// Logic is walked here and comparisons by the interpreter, so that what an
/// event lacks decides one comparison and not the whole condition.
#[derive(Debug)]
enum Node {
    Always,
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    If(Box<Node>, Box<Node>, Box<Node>),
    IsNull(IdedExpr),
    Holds(IdedExpr),
}

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

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

impl Condition {
    /// Parses and checks a condition.
    ///
    /// # Errors
    /// [`InvalidCondition`] says what is wrong and, for a construct that is not
    /// supported, what to write instead.
    pub fn parse(source: &str) -> Result<Self, InvalidCondition> {
        Self::parse_in(source, Vocabulary::Event)
    }

    /// The same over other variables.
    pub(crate) fn parse_in(source: &str, vocabulary: Vocabulary) -> Result<Self, InvalidCondition> {
        let root = if source.trim().is_empty() {
            check_size(source)?;
            Node::Always
        } else {
            parse(source, vocabulary, Node::compile)?
        };
        Ok(Self { source: source.into(), root: Arc::new(root) })
    }

    /// The condition as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the event meets the condition. Never fails: what cannot be
    /// compared does not match.
    pub fn matches(&self, event: &EventFacts<'_>) -> bool {
        self.holds_for(event)
    }

    /// Whether what the resolver knows meets the condition.
    pub(crate) fn holds_for(&self, facts: &dyn VariableResolver) -> bool {
        if matches!(*self.root, Node::Always) {
            return true;
        }
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(facts);
        self.root.holds(&context)
    }
}

/// A value computed from what a vocabulary knows, parsed and checked once. It
/// keeps the same limits as a [`Condition`]. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Formula {
    source: Arc<str>,
    expression: Arc<IdedExpr>,
}

impl Formula {
    /// Parses and checks a formula.
    pub(crate) fn parse_in(source: &str, vocabulary: Vocabulary) -> Result<Self, InvalidCondition> {
        let expression = parse(source, vocabulary, IdedExpr::clone)?;
        Ok(Self { source: source.into(), expression: Arc::new(expression) })
    }

    /// The formula as it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Its value as JSON; `None` when something it needs is missing, or when
    /// the value has no place in JSON.
    pub(crate) fn value_for(&self, facts: &dyn VariableResolver) -> Option<serde_json::Value> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(facts);
        to_json(Value::resolve(&self.expression, &context).ok()?)
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Formula").field(&self.source).finish()
    }
}

fn to_json(value: Value) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::UInt(value) => value.into(),
        Value::Float(value) => serde_json::Number::from_f64(value)?.into(),
        Value::String(text) => text.as_str().into(),
        Value::Timestamp(time) => time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true).into(),
        Value::List(values) => {
            Json::Array(values.iter().cloned().map(to_json).collect::<Option<_>>()?)
        }
        Value::Map(map) => {
            let mut fields = serde_json::Map::new();
            for (name, value) in map.map.iter() {
                let cel::objects::Key::String(name) = name else { return None };
                fields.insert(name.to_string(), to_json(value.clone())?);
            }
            fields.sort_keys();
            Json::Object(fields)
        }
        Value::Function(..)
        | Value::Bytes(_)
        | Value::Duration(_)
        | Value::Opaque(_)
        | Value::Struct(_) => return None,
    })
}

impl Node {
    fn compile(expression: &IdedExpr) -> Self {
        let Expr::Call(call) = &expression.expr else {
            return match &expression.expr {
                // An event's fields are not a map for the interpreter.
                Expr::Select(select) if select.test && is_event(&select.operand) => {
                    let field = SelectExpr { test: false, ..select.clone() };
                    let field = IdedExpr { id: expression.id, expr: Expr::Select(field) };
                    Self::Not(Box::new(Self::IsNull(field)))
                }
                _ => Self::Holds(expression.clone()),
            };
        };
        let argument = |index: usize| Box::new(Self::compile(&call.args[index]));
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, [_]) => Self::Not(argument(0)),
            (operators::LOGICAL_AND, [_, _]) => Self::And(argument(0), argument(1)),
            (operators::LOGICAL_OR, [_, _]) => Self::Or(argument(0), argument(1)),
            (operators::CONDITIONAL, [_, _, _]) => Self::If(argument(0), argument(1), argument(2)),
            (operators::EQUALS, [left, right]) if is_null(right) => Self::IsNull(left.clone()),
            (operators::EQUALS, [left, right]) if is_null(left) => Self::IsNull(right.clone()),
            (operators::NOT_EQUALS, [left, right]) if is_null(right) => {
                Self::Not(Box::new(Self::IsNull(left.clone())))
            }
            (operators::NOT_EQUALS, [left, right]) if is_null(left) => {
                Self::Not(Box::new(Self::IsNull(right.clone())))
            }
            _ => Self::Holds(expression.clone()),
        }
    }

    fn holds(&self, context: &Context<'_, '_>) -> bool {
        match self {
            Self::Always => true,
            Self::Not(inner) => !inner.holds(context),
            Self::And(left, right) => left.holds(context) && right.holds(context),
            Self::Or(left, right) => left.holds(context) || right.holds(context),
            Self::If(condition, yes, no) => {
                if condition.holds(context) {
                    yes.holds(context)
                } else {
                    no.holds(context)
                }
            }
            Self::IsNull(value) => {
                matches!(Value::resolve(value, context), Ok(Value::Null) | Err(_))
            }
            Self::Holds(value) => matches!(Value::resolve(value, context), Ok(Value::Bool(true))),
        }
    }
}

impl VariableResolver for EventFacts<'_> {
    /// Is asked for `properties.plan.name`, then `properties.plan`, then
    /// `properties`, so that one property costs one look-up.
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let (root, path) = match variable.split_once('.') {
            Some((root, path)) => (root, Some(path)),
            None => (variable, None),
        };
        match (root, path) {
            ("event", field) => {
                let text = match field.unwrap_or("name") {
                    "name" => self.name,
                    "source" => self.source,
                    "user_id" => self.user_id,
                    "anonymous_id" => self.anonymous_id,
                    "account_id" => self.account_id,
                    _ => return None,
                };
                (!text.is_empty()).then(|| CowVal::owned(CelString::from(text)))
            }
            ("properties", None) => Some(CowVal::Owned(object(self.properties))),
            ("properties", Some(path)) => {
                let mut fields = path.split('.');
                let mut value = self.properties.get(fields.next()?)?;
                for field in fields {
                    value = value.as_object()?.get(field)?;
                }
                Some(CowVal::Owned(json(value)))
            }
            _ => None,
        }
    }
}

/// What keeps the parser within its bounds.
fn check_size(source: &str) -> Result<(), InvalidCondition> {
    if source.len() > MAX_CONDITION_BYTES {
        return Err(InvalidCondition::TooLong(source.len()));
    }
    if nesting(source) > MAX_NESTING {
        return Err(InvalidCondition::TooDeep);
    }
    Ok(())
}

/// Parses and checks a source, and compiles it where the parser's stack is.
fn parse<T: Send>(
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

fn object<'a>(fields: &'a serde_json::Map<String, serde_json::Value>) -> Box<dyn Val + 'a> {
    let entries: std::collections::HashMap<_, _> =
        fields.iter().map(|(name, value)| (name.as_str().into(), json(value))).collect();
    Box::new(CelMap::from(entries))
}

/// A JSON value as CEL sees it.
pub(crate) fn json(value: &serde_json::Value) -> Box<dyn Val + '_> {
    use serde_json::Value as Json;
    match value {
        Json::Null => Box::new(CelNull),
        Json::Bool(value) => Box::new(CelBool::from(*value)),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Box::new(CelInt::from(integer)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Json::String(text) => Box::new(CelString::from(text.as_str())),
        Json::Array(values) => Box::new(CelList::from(values.iter().map(json).collect::<Vec<_>>())),
        Json::Object(fields) => object(fields),
    }
}

fn is_null(expression: &IdedExpr) -> bool {
    matches!(expression.expr, Expr::Literal(LiteralValue::Null))
}

fn is_event(expression: &IdedExpr) -> bool {
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

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.source).finish()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl TryFrom<String> for Condition {
    type Error = InvalidCondition;

    fn try_from(source: String) -> Result<Self, Self::Error> {
        Self::parse(&source)
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.source.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, EventFacts, InvalidCondition};

    fn matches(source: &str) -> bool {
        let properties = serde_json::json!({
            "plan": "pro", "seats": 12, "price": 9.5, "trial": false, "none": null,
            "utm.source": "mail", "tags": ["a", "b"], "billing": {"period": "year"},
            "big": 9_007_199_254_740_993_i64,
        });
        let event = EventFacts {
            name: "Signed Up",
            source: "web",
            user_id: "u1",
            anonymous_id: "",
            account_id: "acme",
            properties: properties.as_object().unwrap(),
        };
        Condition::parse(source).unwrap_or_else(|error| panic!("{source}: {error}")).matches(&event)
    }

    #[test]
    fn a_condition_reads_the_event_and_its_properties() {
        for holds in [
            "",
            "true",
            "event == 'Signed Up'",
            "event.name == 'Signed Up' && event.source == 'web'",
            "event.user_id == \"u1\"",
            "properties.plan in ['pro', 'team']",
            "properties.seats > 10 && properties.seats >= 11.5",
            "properties[\"utm.source\"] == 'mail'",
            "properties.billing.period == 'year'",
            "properties.price * 2.0 == 19.0",
            "'b' in properties.tags && size(properties.tags) == 2",
            "properties.plan.startsWith('p') && properties.plan.matches('^p.o$')",
            "properties.trial ? false : properties.seats == 12",
            "properties.big == 9007199254740993",
        ] {
            assert!(matches(holds), "{holds}");
        }
    }

    #[test]
    fn a_comparison_with_what_is_missing_is_false_whatever_the_operator() {
        for fails in [
            "properties.x == 1",
            "properties.x != 1",
            "properties.x > 1",
            "properties.x in [1]",
            "properties.x",
            "properties.billing.x == 1",
            "properties.plan.x == 1",
            "event.anonymous_id != 'a'",
            "properties.plan > 3",
        ] {
            assert!(!matches(fails), "{fails}");
        }
        assert!(matches("!(properties.x == 1)"));
        assert!(matches("properties.x == 1 || properties.plan == 'pro'"));
    }

    #[test]
    fn null_is_what_is_missing_or_null_and_has_asks_for_the_key() {
        for holds in [
            "properties.x == null",
            "null == properties.none",
            "properties.plan != null",
            "event.anonymous_id == null",
            "has(properties.plan)",
            "!has(properties.x)",
            "!has(properties.x.y)",
            "has(properties.billing.period)",
            "has(event.user_id) && !has(event.anonymous_id)",
        ] {
            assert!(matches(holds), "{holds}");
        }
    }

    #[test]
    fn what_is_not_a_condition_is_refused_with_a_hint() {
        assert!(matches!(Condition::parse("a ="), Err(InvalidCondition::Syntax(_))));
        for refused in [
            "plan == 'pro'",
            "event.plan == 'pro'",
            "event['name'] == 'x'",
            "properties.tags.exists(t, t == 'a')",
            "properties == {'a': 1}",
            "getenv('HOME') == 'x'",
            "properties.plan.matches(properties.pattern)",
        ] {
            let error = Condition::parse(refused).expect_err(refused);
            assert!(matches!(error, InvalidCondition::Unsupported { .. }), "{refused}: {error}");
        }
        assert!(Condition::parse("properties.plan.matches('(')").is_err());
        assert!(Condition::parse(&"!".repeat(5000)).is_err());
        for opening in ["(", "[", "true ? true : ", "!(", "size("] {
            let error = Condition::parse(&opening.repeat(200)).expect_err(opening);
            assert_eq!(error, InvalidCondition::TooDeep, "{opening}");
        }
        for (operator, operand) in [("1 + ", "1 == 3"), ("2 == ", "1"), ("properties.a", ".a")] {
            let long = operator.repeat(200) + operand;
            assert!(Condition::parse(&long).is_err(), "{operator}");
            assert!(!matches(&(format!("{operator}{operand}"))), "{operator}");
        }
        assert!(matches(&("true && ".repeat(200) + "true")));
        let deep = format!("{}true{}", "(".repeat(32), ")".repeat(32));
        assert!(Condition::parse(&deep).is_ok());
    }

    #[test]
    fn a_document_holds_the_text() {
        let condition: Condition = serde_json::from_str("\"properties.x == 1\"").unwrap();
        assert_eq!(serde_json::to_string(&condition).unwrap(), "\"properties.x == 1\"");
        assert!(serde_json::from_str::<Condition>("\"x ==\"").is_err());
    }
}
