//! The logic of a condition, apart from its comparisons.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use cel::{Context, Value};

use super::check::is_event;

/// Logic is walked here and comparisons by the interpreter, so that what an
/// event lacks decides one comparison and not the whole condition.
#[derive(Debug)]
pub(super) enum Node {
    Always,
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    If(Box<Node>, Box<Node>, Box<Node>),
    IsNull(IdedExpr),
    Holds(IdedExpr),
}

impl Node {
    pub(super) fn compile(expression: &IdedExpr) -> Self {
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

    pub(super) fn holds(&self, context: &Context<'_, '_>) -> bool {
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

fn is_null(expression: &IdedExpr) -> bool {
    matches!(expression.expr, Expr::Literal(LiteralValue::Null))
}
