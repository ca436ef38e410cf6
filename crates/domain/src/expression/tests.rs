use proptest::prelude::*;

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

/// Pieces of conditions, right and wrong.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "event",
            "event.name",
            "properties",
            "properties.a",
            ".b",
            "[0]",
            "['x']",
            "==",
            "!=",
            "<",
            ">=",
            " in ",
            "&&",
            "||",
            "!",
            "?",
            ":",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "null",
            "true",
            "1",
            "-1",
            "1.5e308",
            "9223372036854775808",
            "'text'",
            "\"",
            "has(",
            "size(",
            ".matches('^a+$')",
            ".matches('(')",
            ".map(x, x)",
            "timestamp('2026-03-01T00:00:00Z')",
            "duration('1h')",
            "%",
            "/ 0",
            "\\u0000",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_is_written_is_a_condition_or_says_why_it_is_none(pieces in prop::collection::vec(piece(), 0..12)) {
        let source = pieces.concat();
        match Condition::parse(&source) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(condition) => {
                let properties = serde_json::json!({"a": [1, {"b": null}], "x": "y"});
                let event = EventFacts {
                    name: "n",
                    source: "",
                    user_id: "u",
                    anonymous_id: "",
                    account_id: "",
                    properties: properties.as_object().unwrap(),
                };
                prop_assert_eq!(condition.source(), source);
                condition.matches(&event);
            }
        }
    }
}
