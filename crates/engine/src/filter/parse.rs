//! From CEL to a checked condition.

use cel::{
    common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators},
    parser::Parser,
};
use regex::RegexBuilder;

use super::{Comparison, Condition, FilterError, Literal, Operand, Test};
use crate::segment::Field;

/// Largest compiled size of a regular expression.
const REGEX_BYTES: usize = 1 << 20;

const FIELDS: &str = "write event.name, event.source, event.user_id, event.anonymous_id, event.account_id or properties.<path>";
const COMPARE: &str = "compare one field or property with a literal";
const CONDITIONS: &str = "combine comparisons with &&, || and !";

/// Longest filter, in bytes. Chains (`a.a.a`, `1 + 1 + 1`) are as deep as they are long, so this bounds the parser's
/// stack, too.
const MAX_BYTES: usize = 8_192;

/// Most brackets that may be open at once, and most `?`. The parser recurses for each, so its stack must be bounded
/// before it runs.
const MAX_NESTING: usize = 32;

/// Without optimisation the parser takes more than 100 KiB for each open bracket and about 8 KiB for each link of a
/// chain. What is not touched costs nothing.
const PARSER_STACK_BYTES: usize = 128 << 20;

pub(super) fn parse(source: &str) -> Result<Condition, FilterError> {
    if source.len() > MAX_BYTES {
        return Err(FilterError::TooLong { bytes: source.len(), limit: MAX_BYTES });
    }
    if nesting(source) > MAX_NESTING {
        return Err(FilterError::TooDeep { limit: MAX_NESTING });
    }
    let syntax = |problem: String| FilterError::Syntax { filter: source.to_owned(), problem };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(PARSER_STACK_BYTES)
            .spawn_scoped(scope, || compile(source))
            .map_err(|error| syntax(format!("no thread to parse it: {error}")))?
            .join()
            .unwrap_or_else(|_| Err(syntax("the parser gave up".to_owned())))
    })
}

/// An upper bound of how deeply the parser recurses. Brackets inside of strings count as well, which refuses no filter a
/// person would write.
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

fn compile(source: &str) -> Result<Condition, FilterError> {
    let (expression, info) = Parser::new()
        .enable_ident_escape_syntax(true)
        .parse_with_source_info(source)
        .map_err(|errors| FilterError::Syntax {
            filter: source.to_owned(),
            problem: errors
                .errors
                .first()
                .map_or_else(String::new, |error| error.msg.trim().to_owned()),
        })?;
    Compiler { source, info }.condition(&expression)
}

struct Compiler<'a> {
    source: &'a str,
    info: SourceInfo,
}

impl Compiler<'_> {
    fn condition(&self, node: &IdedExpr) -> Result<Condition, FilterError> {
        match &node.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => Ok(Condition::Always(*value.inner())),
            Expr::Call(call) => self.call(node, call),
            Expr::Select(select) if select.test => {
                let operand = self.member(&select.operand, &select.field, node)?;
                Ok(Condition::Test(operand, Test::IsPresent))
            }
            Expr::Ident(_) | Expr::Select(_) => self.bare(node),
            Expr::Comprehension(_) => Err(self.unsupported(
                node,
                "a macro over a list (all, exists, map, filter)",
                CONDITIONS,
            )),
            Expr::Literal(_) => Err(self.unsupported(node, "a literal as a condition", COMPARE)),
            Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => {
                Err(self.unsupported(node, "a list, map or message as a condition", COMPARE))
            }
            Expr::Unspecified => Err(self.unsupported(node, "an empty expression", CONDITIONS)),
        }
    }

    fn bare(&self, node: &IdedExpr) -> Result<Condition, FilterError> {
        match self.operand(node)? {
            operand @ Operand::Property(_) => Ok(Condition::Test(operand, Test::IsTrue)),
            Operand::Field(_) => Err(self.unsupported(node, "a string as a condition", COMPARE)),
        }
    }

    fn call(&self, node: &IdedExpr, call: &CallExpr) -> Result<Condition, FilterError> {
        let comparison = match call.func_name.as_str() {
            operators::EQUALS => Comparison::Equal,
            operators::NOT_EQUALS => Comparison::NotEqual,
            operators::LESS => Comparison::Less,
            operators::LESS_EQUALS => Comparison::LessOrEqual,
            operators::GREATER => Comparison::Greater,
            operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
            _ => return self.other_call(node, call),
        };
        let [left, right] = call.args.as_slice() else {
            return Err(self.unsupported(node, "a comparison without two sides", COMPARE));
        };
        let (operand, comparison, literal) = match (self.literal(left), self.literal(right)) {
            (None, Some(literal)) => (left, comparison, literal),
            (Some(literal), None) => (right, comparison.flipped(), literal),
            (Some(_), Some(_)) => {
                return Err(self.unsupported(node, "a comparison of two literals", COMPARE));
            }
            (None, None) => {
                // Name what is wrong with a side before what is wrong with the comparison.
                self.operand(left)?;
                self.operand(right)?;
                return Err(self.unsupported(node, "a comparison of two fields", COMPARE));
            }
        };
        let operand = self.operand(operand)?;
        let Some(literal) = literal else {
            let is_null = Condition::Test(operand, Test::IsNull);
            return match comparison {
                Comparison::Equal => Ok(is_null),
                Comparison::NotEqual => Ok(Condition::Not(Box::new(is_null))),
                _ => Err(self.unsupported(node, "ordering against null", "use == null or != null")),
            };
        };
        Ok(Condition::Test(operand, Test::Compare(comparison, literal)))
    }

    fn other_call(&self, node: &IdedExpr, call: &CallExpr) -> Result<Condition, FilterError> {
        match (call.func_name.as_str(), &call.target, call.args.as_slice()) {
            (operators::LOGICAL_AND, None, parts) => Ok(Condition::All(
                parts.iter().map(|part| self.condition(part)).collect::<Result<_, _>>()?,
            )),
            (operators::LOGICAL_OR, None, parts) => Ok(Condition::Any(
                parts.iter().map(|part| self.condition(part)).collect::<Result<_, _>>()?,
            )),
            (operators::LOGICAL_NOT, None, [part]) => {
                Ok(Condition::Not(Box::new(self.condition(part)?)))
            }
            (operators::CONDITIONAL, None, [test, yes, no]) => {
                let test = self.condition(test)?;
                let no = Condition::All(vec![
                    Condition::Not(Box::new(test.clone())),
                    self.condition(no)?,
                ]);
                Ok(Condition::Any(vec![Condition::All(vec![test, self.condition(yes)?]), no]))
            }
            (operators::INDEX, None, _) => self.bare(node),
            (operators::IN, None, [operand, list]) => self.one_of(node, operand, list),
            ("startsWith" | "endsWith" | "contains" | "matches", Some(target), [argument]) => {
                let Expr::Literal(LiteralValue::String(text)) = &argument.expr else {
                    return Err(self.unsupported(
                        argument,
                        "an argument that is not a string literal",
                        COMPARE,
                    ));
                };
                let operand = self.operand(target)?;
                let text = text.inner().to_owned();
                let test = match call.func_name.as_str() {
                    "startsWith" => Test::StartsWith(text),
                    "endsWith" => Test::EndsWith(text),
                    "contains" => Test::Contains(text),
                    _ => Test::Matches(
                        RegexBuilder::new(&text).size_limit(REGEX_BYTES).build().map_err(|_| {
                            self.unsupported(
                                argument,
                                "this regular expression",
                                "use RE2 syntax, and keep it small",
                            )
                        })?,
                    ),
                };
                Ok(Condition::Test(operand, test))
            }
            (name, _, _) => {
                let construct = match name.trim_matches('_').trim_matches('@') {
                    "+" | "-" | "*" | "/" | "%" => "arithmetic".to_owned(),
                    name => format!("`{name}`"),
                };
                Err(self.unsupported(node, construct, CONDITIONS))
            }
        }
    }

    fn one_of(
        &self,
        node: &IdedExpr,
        operand: &IdedExpr,
        list: &IdedExpr,
    ) -> Result<Condition, FilterError> {
        let Expr::List(list) = &list.expr else {
            return Err(self.unsupported(
                node,
                "`in` anything but a list of literals",
                "write x in [\"a\", \"b\"]",
            ));
        };
        let operand = self.operand(operand)?;
        let (mut literals, mut null) = (Vec::new(), false);
        for element in &list.elements {
            match self.literal(element) {
                Some(Some(literal)) => literals.push(literal),
                Some(None) => null = true,
                None => {
                    return Err(self.unsupported(
                        element,
                        "a list element that is no literal",
                        "list literals only",
                    ));
                }
            }
        }
        let one_of = Condition::Test(operand.clone(), Test::OneOf(literals));
        Ok(if null {
            Condition::Any(vec![one_of, Condition::Test(operand, Test::IsNull)])
        } else {
            one_of
        })
    }

    /// `None` when it is no literal, `Some(None)` for null.
    fn literal(&self, node: &IdedExpr) -> Option<Option<Literal>> {
        match &node.expr {
            Expr::Literal(literal) => Some(match literal {
                LiteralValue::Boolean(value) => Some(Literal::Bool(*value.inner())),
                LiteralValue::Double(value) => Some(Literal::Number(*value.inner())),
                LiteralValue::Int(value) => Some(Literal::Number(*value.inner() as f64)),
                LiteralValue::UInt(value) => Some(Literal::Number(*value.inner() as f64)),
                LiteralValue::String(value) => Some(Literal::Text(value.inner().to_owned())),
                LiteralValue::Null => None,
                LiteralValue::Bytes(_) => return None,
            }),
            Expr::Call(call) if call.func_name == operators::NEGATE => {
                match self.literal(call.args.first()?)? {
                    Some(Literal::Number(value)) => Some(Some(Literal::Number(-value))),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn operand(&self, node: &IdedExpr) -> Result<Operand, FilterError> {
        match &node.expr {
            Expr::Ident(name) if name == "event" => Ok(Operand::Field(Field::Name)),
            Expr::Select(select) if !select.test => {
                self.member(&select.operand, &select.field, node)
            }
            Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
                [object, IdedExpr { expr: Expr::Literal(LiteralValue::String(key)), .. }] => {
                    self.member(object, key.inner(), node)
                }
                _ => Err(self.unsupported(node, "an index that is no string literal", FIELDS)),
            },
            Expr::Call(call) => {
                let construct = match call.func_name.trim_matches('_').trim_matches('@') {
                    "+" | "-" | "*" | "/" | "%" => "arithmetic".to_owned(),
                    name => format!("`{name}` as a value"),
                };
                Err(self.unsupported(node, construct, COMPARE))
            }
            Expr::Ident(name) => Err(self.unsupported(node, format!("the name `{name}`"), FIELDS)),
            _ => Err(self.unsupported(node, "this expression as a value", COMPARE)),
        }
    }

    /// `object.field`, where the object is `event`, `properties` or a path below `properties`.
    fn member(
        &self,
        object: &IdedExpr,
        field: &str,
        node: &IdedExpr,
    ) -> Result<Operand, FilterError> {
        match &object.expr {
            Expr::Ident(name) if name == "event" => match field {
                "name" => Ok(Operand::Field(Field::Name)),
                "source" => Ok(Operand::Field(Field::Source)),
                "user_id" => Ok(Operand::Field(Field::UserId)),
                "anonymous_id" => Ok(Operand::Field(Field::AnonymousId)),
                "account_id" => Ok(Operand::Field(Field::AccountId)),
                _ => Err(self.unsupported(node, format!("the field `event.{field}`"), FIELDS)),
            },
            Expr::Ident(name) if name == "properties" => Ok(Operand::Property(field.to_owned())),
            _ => match self.operand(object)? {
                Operand::Property(path) => Ok(Operand::Property(format!("{path}.{field}"))),
                Operand::Field(_) => Err(self.unsupported(node, "a member of a string", FIELDS)),
            },
        }
    }

    fn unsupported(
        &self,
        node: &IdedExpr,
        construct: impl Into<String>,
        hint: &'static str,
    ) -> FilterError {
        let characters: Vec<char> = self.source.chars().collect();
        let (start, mut end) = self.span(node).unwrap_or((0, characters.len()));
        // The parser's span of a call or a list ends before its closing bracket.
        let open = |part: &[char]| {
            let count =
                |wanted: &str| part.iter().filter(|character| wanted.contains(**character)).count();
            count("([") > count(")]")
        };
        while end < characters.len() && open(&characters[start..end]) {
            end += 1;
        }
        let fragment: String = characters.get(start..end).unwrap_or_default().iter().collect();
        FilterError::Unsupported {
            filter: self.source.to_owned(),
            construct: construct.into(),
            fragment: if fragment.is_empty() { self.source.to_owned() } else { fragment },
            hint,
        }
    }

    /// Characters that a node and everything below it covers.
    fn span(&self, node: &IdedExpr) -> Option<(usize, usize)> {
        let own =
            self.info.offset_for(node.id).map(|(start, end)| (start as usize, end as usize + 1));
        let below: Vec<&IdedExpr> = match &node.expr {
            Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
            Expr::Select(select) => vec![&select.operand],
            Expr::List(list) => list.elements.iter().collect(),
            Expr::Comprehension(macro_call) => vec![&macro_call.iter_range],
            _ => Vec::new(),
        };
        below
            .into_iter()
            .filter_map(|part| self.span(part))
            .chain(own)
            .reduce(|left, right| (left.0.min(right.0), left.1.max(right.1)))
            .map(|(start, end)| match &node.expr {
                // The parser's span of a selection ends with its dot.
                Expr::Select(select)
                    if self.source.chars().nth(end.saturating_sub(1)) == Some('.') =>
                {
                    (start, end + select.field.chars().count())
                }
                // And that of a call begins with its bracket.
                Expr::Call(call) if self.source.chars().nth(start) == Some('(') => {
                    let name = call.func_name.chars().count();
                    let before: String = self.source.chars().take(start).collect();
                    (if before.ends_with(&call.func_name) { start - name } else { start }, end)
                }
                _ => (start, end),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Filter;

    fn refusal(source: &str) -> String {
        Filter::parse(source).expect_err(source).to_string()
    }

    #[test]
    fn no_filter_exhausts_the_stack() {
        let deep = format!("{}true{}", "(".repeat(4_000), ")".repeat(4_000));
        assert!(refusal(&deep).contains("more than 32 deep"));
        assert!(refusal(&"true ? ".repeat(40)).contains("more than 32 deep"));
        let nested = format!("{}true{}", "(".repeat(32), ")".repeat(32));
        Filter::parse(&nested).expect("as deep as may be");
        assert!(refusal(&"x".repeat(20_000)).contains("20000 bytes long"));
        for link in ["!", "-", "a.", "1+", "1<", "a[0].", "a() ", "true || ", "true && "] {
            // Whatever it means: it ends.
            let chain = format!("{}true", link.repeat(8_000 / link.len()));
            let _ = Filter::parse(&chain).is_ok();
        }
    }

    #[test]
    fn the_vocabulary_is_accepted() {
        for source in [
            r#"event == "signup""#,
            r#"event.name in ["a", "b"] && event.source != "web""#,
            r#"properties.amount >= 10 || properties["amount"] < -1.5"#,
            r#"has(properties.plan.name) && properties.plan["name"].startsWith("pro")"#,
            r#"!(properties.is_trial) && properties.is_trial == false"#,
            r#"properties.x == null || event.account_id != null || 5u < properties.x"#,
            r#"properties.email.matches("^[a-z]+@example[.]com$") || properties.email.contains("x")"#,
            r#"properties.flag ? event == "a" : event == "b""#,
            "true",
        ] {
            Filter::parse(source).expect(source);
        }
    }

    #[test]
    fn a_refusal_names_the_construct_and_where_it_stands() {
        for (source, construct, fragment) in [
            (r#"properties.a + 1 > 2"#, "arithmetic", "properties.a + 1"),
            (
                r#"properties.a == properties.b"#,
                "a comparison of two fields",
                "properties.a == properties.b",
            ),
            (r#"size(properties.a) > 1"#, "`size` as a value", "size(properties.a)"),
            (r#"event.time > 5"#, "the field `event.time`", "event.time"),
            (r#"user == "x""#, "the name `user`", "user"),
            (r#"["a"].exists(x, x == event)"#, "a macro over a list", "["),
            (r#"event.name"#, "a string as a condition", "event.name"),
            (r#"properties.a < null"#, "ordering against null", "properties.a < null"),
            (r#"properties.a.matches("(")"#, "this regular expression", "\"(\""),
            (
                r#"event in properties.list"#,
                "`in` anything but a list of literals",
                "event in properties.list",
            ),
            ("1", "a literal as a condition", "1"),
        ] {
            let text = refusal(source);
            assert!(text.contains(construct), "{text} does not name {construct}");
            assert!(
                text.contains(&format!("in `{fragment}")),
                "{text} does not point at {fragment}"
            );
        }
    }

    #[test]
    fn what_is_not_cel_is_a_syntax_error() {
        for source in ["", "event ==", "event == 'a' &&& true", "properties."] {
            assert!(matches!(Filter::parse(source), Err(FilterError::Syntax { .. })), "{source}");
        }
    }

    #[test]
    fn a_filter_travels_as_its_source() {
        let filter = Filter::parse("properties.a > 1").expect("a filter");
        let json = serde_json::to_string(&filter).expect("json");
        assert_eq!(json, r#""properties.a > 1""#);
        assert_eq!(serde_json::from_str::<Filter>(&json).expect("a filter"), filter);
        assert!(serde_json::from_str::<Filter>(r#""a +""#).is_err());
        assert_eq!(filter.properties(), ["a"]);
    }
}
