// Written by `northstar contract codegen`. Change the contracts and write it again.

use serde::{Deserialize, Serialize};

/// One of a few texts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum CheckoutEventPlan {
    /// "pro"
    #[serde(rename = "pro")]
    Pro,
    /// "free"
    #[serde(rename = "free")]
    Free,
    /// "2-for-1"
    #[serde(rename = "2-for-1")]
    Event2For1,
}

/// A nested object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckoutEventLinesItem {
    #[serde(rename = "sku")]
    pub sku: String,
}

/// A nested object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckoutEventAddress {
    #[serde(rename = "city", default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    #[serde(rename = "self", default, skip_serializing_if = "Option::is_none")]
    pub self_: Option<bool>,
}

/// Somebody paid.
///
/// The "type" is that of the shop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckoutEvent {
    /// What was bought.
    #[serde(rename = "plan")]
    pub plan: CheckoutEventPlan,
    #[serde(rename = "total")]
    pub total: f64,
    #[serde(rename = "lines")]
    pub lines: Vec<CheckoutEventLinesItem>,
    #[serde(rename = "note")]
    pub note: Option<String>,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    #[serde(rename = "address", default, skip_serializing_if = "Option::is_none")]
    pub address: Option<CheckoutEventAddress>,
    #[serde(rename = "counts", default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<std::collections::BTreeMap<String, i64>>,
    #[serde(rename = "anything", default, skip_serializing_if = "Option::is_none")]
    pub anything: Option<serde_json::Value>,
}

impl CheckoutEvent {
    /// Name of the event.
    pub const EVENT_NAME: &'static str = "checkout-event";
    /// Version of the contract that these properties keep.
    pub const SCHEMA_VERSION: &'static str = "1-2-0";

    /// The properties to send; they name the version of the contract.
    ///
    /// # Errors
    /// When a number is no JSON number.
    pub fn to_properties(&self) -> serde_json::Result<serde_json::Value> {
        let mut properties = serde_json::to_value(self)?;
        properties["$schema_version"] = Self::SCHEMA_VERSION.into();
        Ok(properties)
    }
}
