//! Webhook sources ready to apply: what widely used systems send, with an
//! example of it.

/// A webhook source as a document, and a payload that it is for.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name, which is also that of the document.
    pub name: &'static str,
    /// The document, in YAML, with the steps to set it up.
    pub document: &'static str,
    /// A payload as the other system sends it, made up.
    pub payload: &'static str,
}

macro_rules! preset {
    ($name:literal) => {
        Preset {
            name: $name,
            document: include_str!(concat!("../presets/", $name, ".yaml")),
            payload: include_str!(concat!("../presets/", $name, ".json")),
        }
    };
}

/// Every preset, by name.
pub const ALL: &[Preset] = &[
    preset!("hubspot-deals"),
    preset!("intercom-conversations"),
    preset!("stripe-billing"),
    preset!("zendesk-tickets"),
];

/// The preset of a name.
pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}
