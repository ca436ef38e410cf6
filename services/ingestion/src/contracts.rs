//! Contracts, compiled and at hand.
//!
//! A process keeps the compiled contracts of every project it receives events
//! for. A change made through this process holds for the next request; one made
//! through another is noticed within a second, by the version that every change
//! raises.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use northstar_domain::ProjectId;
use northstar_domain::consent_policy::ConsentPolicy;
use northstar_domain::contract::{ContractMode, ContractSpec, FutureRule, SchemaVersion};
use northstar_domain::event::{Fault, Reason};
use northstar_store::ingestion::contracts as store;
use northstar_store::ingestion::subject_policies::{self, Kind, Stored};
use northstar_store::{PgPool, Result};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::pseudonyms::PseudonymKey;
use crate::sealing::SealingKey;

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Most characters of a violation's message: it may quote the event.
const MAX_MESSAGE_CHARS: usize = 300;
/// Most violations of an event that are looked at.
const MAX_FAULTS: usize = 100;
/// Most older versions of a contract at hand, the newest.
const MAX_OLDER: i64 = 64;

/// A compiled JSON Schema.
pub(crate) struct Validator(jsonschema::Validator);

/// One way in which properties break a schema.
pub(crate) struct Violation {
    /// The property at fault; empty when it is the whole.
    pub(crate) property: String,
    /// What is wrong.
    pub(crate) fault: Fault,
}

impl Validator {
    /// Compiles a JSON Schema 2020-12. References lead nowhere outside of it,
    /// and patterns run in linear time, so look-around and back-references are
    /// refused.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .offline()
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .should_validate_formats(true)
            .build(schema)
            .map(Self)
            .map_err(|error| shortened(&format!("not a JSON Schema 2020-12: {error}")))
    }

    /// Whether a value keeps the schema.
    pub(crate) fn allows(&self, value: &Value) -> bool {
        self.0.is_valid(value)
    }

    /// The ways in which properties break the schema, at most 100.
    pub(crate) fn violations(&self, properties: &Value) -> Vec<Violation> {
        if self.allows(properties) {
            return Vec::new();
        }
        self.0
            .iter_errors(properties)
            .take(MAX_FAULTS)
            .flat_map(|error| violations(&error))
            .collect()
    }
}

fn violations(error: &jsonschema::ValidationError<'_>) -> Vec<Violation> {
    use jsonschema::error::ValidationErrorKind as Kind;
    let steps: Vec<String> = error
        .instance_path()
        .as_str()
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect();
    let message = shortened(&error.to_string());
    let violation = |last: Option<&str>| {
        let path: Vec<&str> = steps.iter().map(String::as_str).chain(last).collect();
        let mut field = String::from("properties");
        for step in &path {
            field.push('.');
            field.push_str(step);
        }
        Violation {
            property: path.first().map(|step| (*step).to_owned()).unwrap_or_default(),
            fault: Fault::new(Reason::SchemaViolation, field, message.clone()),
        }
    };
    match error.kind() {
        Kind::Required { property: Value::String(missing) } => vec![violation(Some(missing))],
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            unexpected.iter().map(|name| violation(Some(name))).collect()
        }
        _ => vec![violation(None)],
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The properties that the root of a schema names.
struct Planned {
    names: HashSet<String>,
    /// Those that it names by pattern.
    patterns: Option<Validator>,
}

impl Planned {
    fn of(schema: &Value) -> Result<Self, String> {
        let keys = |keyword| schema.get(keyword).and_then(Value::as_object);
        let names = keys("properties").into_iter().flatten().map(|(name, _)| name.clone());
        let patterns: Vec<Value> = keys("patternProperties")
            .into_iter()
            .flatten()
            .map(|(pattern, _)| json!({"pattern": pattern}))
            .collect();
        let patterns = (!patterns.is_empty())
            .then(|| Validator::compile(&json!({"anyOf": patterns})))
            .transpose()?;
        Ok(Self { names: names.collect(), patterns })
    }
}

/// A contract, compiled.
pub(crate) struct Compiled {
    /// What it says.
    pub(crate) spec: ContractSpec,
    /// The rule of its version.
    pub(crate) current: Validator,
    /// The rules of older versions.
    pub(crate) older: BTreeMap<SchemaVersion, Validator>,
    planned: Planned,
}

impl Compiled {
    /// Compiles a contract.
    pub(crate) fn compile(spec: ContractSpec) -> Result<Self, String> {
        let current = Validator::compile(&spec.json_schema)?;
        let planned = Planned::of(&spec.json_schema)?;
        Ok(Self { spec, current, older: BTreeMap::new(), planned })
    }

    /// What happens when a property breaks the schema, or when the whole does.
    pub(crate) fn mode(&self, property: &str) -> ContractMode {
        self.own_mode(property).unwrap_or(self.spec.mode)
    }

    /// What happens when a property that is not planned is there; `None` when
    /// such properties pass.
    pub(crate) fn unplanned_mode(&self, property: &str) -> Option<ContractMode> {
        let mode = self.own_mode(property).or(self.spec.unplanned_properties)?;
        (!self.plans(property)).then_some(mode)
    }

    fn own_mode(&self, property: &str) -> Option<ContractMode> {
        self.spec.properties.get(property).and_then(|rule| rule.mode)
    }

    fn plans(&self, property: &str) -> bool {
        self.planned.names.contains(property)
            || self
                .planned
                .patterns
                .as_ref()
                .is_some_and(|patterns| patterns.allows(&Value::String(property.to_owned())))
    }

    /// Whether events from the future wait in quarantine.
    pub(crate) fn quarantines_future(&self) -> bool {
        self.spec.future == FutureRule::Quarantine
    }
}

/// The contracts of one project at one version, by event name.
#[derive(Default)]
pub(crate) struct ProjectContracts {
    version: i64,
    by_name: HashMap<String, Compiled>,
    /// What happens to events whose name has none; `None` lets them pass.
    pub(crate) unplanned_events: Option<ContractMode>,
    /// What must be said before anything is kept.
    pub(crate) consent: ConsentPolicy,
    /// What values kept aside are sealed with.
    pub(crate) sealing: Option<SealingKey>,
    /// What pseudonyms are made with, and for which project.
    pub(crate) pseudonyms: Option<(PseudonymKey, ProjectId)>,
}

impl ProjectContracts {
    /// Contracts that are not from the store, for events that are not kept.
    ///
    /// # Errors
    /// The name of the contract whose schema does not compile, and why.
    pub(crate) fn compile(
        contracts: impl IntoIterator<Item = (String, ContractSpec)>,
        unplanned_events: Option<ContractMode>,
    ) -> Result<Self, (String, String)> {
        let mut by_name = HashMap::new();
        for (name, spec) in contracts {
            match Compiled::compile(spec) {
                Ok(compiled) => by_name.insert(name, compiled),
                Err(problem) => return Err((name, problem)),
            };
        }
        let pseudonyms = Some((PseudonymKey::of_nobody(), ProjectId(0)));
        Ok(Self { by_name, unplanned_events, pseudonyms, ..Self::default() })
    }

    /// The contract of an event name.
    pub(crate) fn get(&self, name: &str) -> Option<&Compiled> {
        self.by_name.get(name)
    }

    /// Adds the rule of an older version of a contract.
    pub(crate) fn add_older(&mut self, name: &str, version: SchemaVersion, validator: Validator) {
        if let Some(compiled) = self.by_name.get_mut(name) {
            compiled.older.insert(version, validator);
        }
    }
}

/// The contracts of every project this process receives events for.
#[derive(Clone)]
pub(crate) struct Contracts {
    pool: PgPool,
    projects: Arc<RwLock<HashMap<ProjectId, Arc<ProjectContracts>>>>,
    sealing: Option<SealingKey>,
    pseudonyms: Option<PseudonymKey>,
}

impl Contracts {
    pub(crate) fn new(
        pool: PgPool,
        sealing: Option<SealingKey>,
        pseudonyms: Option<PseudonymKey>,
    ) -> Self {
        if sealing.is_none() {
            tracing::info!(
                "NORTHSTAR_WEBHOOK_SEALING_KEY is not set: values that contracts keep aside are \
                 stored as they are"
            );
        }
        Self { pool, projects: Arc::default(), sealing, pseudonyms }
    }

    /// Whether there is a key to make pseudonyms with.
    pub(crate) fn makes_pseudonyms(&self) -> bool {
        self.pseudonyms.is_some()
    }

    /// The key that values kept aside are sealed with.
    pub(crate) fn sealing(&self) -> Option<&SealingKey> {
        self.sealing.as_ref()
    }

    /// The contracts of a project.
    pub(crate) async fn of(&self, project: ProjectId) -> Result<Arc<ProjectContracts>> {
        let known = self
            .projects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&project)
            .map(Arc::clone);
        match known {
            Some(contracts) => Ok(contracts),
            None => self.reload(project).await,
        }
    }

    /// Reads a project's contracts again.
    pub(crate) async fn reload(&self, project: ProjectId) -> Result<Arc<ProjectContracts>> {
        let mut connection = self.pool.acquire().await?;
        // The version first: a change in between is then noticed by its version.
        let version = store::version(&mut connection, project).await?;
        let unplanned_events = store::unplanned_events(&mut connection, project).await?;
        let sealing = self.sealing.clone();
        let pseudonyms = self.pseudonyms.clone().map(|key| (key, project));
        let mut contracts = ProjectContracts {
            version,
            unplanned_events,
            sealing,
            pseudonyms,
            ..Default::default()
        };
        // What is stored was compiled before, if perhaps by another version.
        let unusable = |name: &str, problem: &str| {
            tracing::error!(
                contract.name = name,
                project.id = project.0,
                problem,
                "a stored contract does not compile and is not enforced"
            );
        };
        for store::Contract { name, spec, .. } in store::all(&mut connection, project).await? {
            match Compiled::compile(spec) {
                Ok(compiled) => {
                    contracts.by_name.insert(name, compiled);
                }
                Err(problem) => unusable(&name, &problem),
            }
        }
        for older in store::older_schemas(&mut connection, project, MAX_OLDER).await? {
            match Validator::compile(&older.json_schema) {
                Ok(validator) => contracts.add_older(&older.name, older.version, validator),
                Err(problem) => unusable(&older.name, &problem),
            }
        }
        let consent: Option<Stored<ConsentPolicy>> =
            subject_policies::find(&mut connection, project, Kind::Consent).await?;
        contracts.consent = consent.map(|stored| stored.policy).unwrap_or_default();
        let contracts = Arc::new(contracts);
        let mut projects = self.projects.write().unwrap_or_else(PoisonError::into_inner);
        let newest = projects.entry(project).or_insert_with(|| Arc::clone(&contracts));
        if newest.version <= contracts.version {
            *newest = contracts;
        }
        Ok(Arc::clone(newest))
    }

    /// Follows changes made through other processes until `shutdown`.
    pub(crate) async fn follow(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        while shutdown.run_until_cancelled(tokio::time::sleep(REFRESH_INTERVAL)).await.is_some() {
            if let Err(error) = self.refresh().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "contracts could not be refreshed"
                );
            }
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<()> {
        let versions = store::versions(&mut *self.pool.acquire().await?).await?;
        for (project, version) in versions {
            let outdated = self
                .projects
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&project)
                .is_some_and(|known| known.version != version);
            if outdated {
                self.reload(project).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use northstar_domain::contract::{Bump, compare};
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom as _;
    use rand::{Rng as _, SeedableRng as _};
    use serde_json::Map;

    use super::*;

    fn maybe(random: &mut StdRng, schema: &mut Map<String, Value>, keyword: &str, value: Value) {
        if random.random_bool(0.3) {
            schema.insert(keyword.to_owned(), value);
        }
    }

    fn schema(random: &mut StdRng, depth: u32) -> Value {
        if depth == 0 || random.random_bool(0.1) {
            return Value::Bool(random.random_bool(0.8));
        }
        let mut schema = Map::new();
        let types = ["object", "string", "integer", "number", "array", "null", "boolean"];
        let one = json!(types.choose(random).unwrap());
        let two = json!([types.choose(random).unwrap(), "object"]);
        let two = if two[0] == two[1] { json!("object") } else { two };
        maybe(random, &mut schema, "type", one);
        maybe(random, &mut schema, "type", two);
        let words = ["a", "b", "ab"];
        let low = random.random_range(0..3);
        let high = random.random_range(1..4);
        maybe(random, &mut schema, "minimum", json!(low));
        maybe(random, &mut schema, "maximum", json!(high));
        maybe(random, &mut schema, "minLength", json!(low));
        maybe(random, &mut schema, "maxItems", json!(high));
        maybe(random, &mut schema, "minProperties", json!(low));
        let values: Vec<Value> = (0..high).map(|_| instance(random, 1)).collect();
        let mut unlike: Vec<Value> = Vec::new();
        for value in values {
            if !unlike.contains(&value) {
                unlike.push(value);
            }
        }
        maybe(random, &mut schema, "enum", json!(unlike));
        let only = instance(random, 1);
        maybe(random, &mut schema, "const", only);
        let required: Vec<_> = words.into_iter().filter(|_| random.random_bool(0.3)).collect();
        maybe(random, &mut schema, "required", json!(required));
        let properties: Map<String, Value> = words
            .into_iter()
            .filter(|_| random.random_bool(0.5))
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|name| (name, self::schema(random, depth - 1)))
            .collect();
        maybe(random, &mut schema, "properties", Value::Object(properties));
        for keyword in ["additionalProperties", "items", "not", "contains"] {
            let below = self::schema(random, depth - 1);
            maybe(random, &mut schema, keyword, below);
        }
        let below = self::schema(random, depth - 1);
        maybe(random, &mut schema, "patternProperties", json!({"^a": below}));
        let any = json!([self::schema(random, depth - 1), self::schema(random, depth - 1)]);
        let keyword = *["allOf", "anyOf", "oneOf"].choose(random).unwrap();
        maybe(random, &mut schema, keyword, any);
        Value::Object(schema)
    }

    /// Another schema: mostly the same one with a change somewhere.
    fn changed(random: &mut StdRng, old: &Value, depth: u32) -> Value {
        let Value::Object(fields) = old else { return schema(random, depth) };
        let mut fields = fields.clone();
        let Some(keyword) = fields.keys().cloned().collect::<Vec<_>>().choose(random).cloned()
        else {
            return schema(random, depth);
        };
        match random.random_range(0..3) {
            0 => _ = fields.shift_remove(&keyword),
            1 => {
                if let Value::Object(other) = schema(random, depth) {
                    fields.extend(other.into_iter().take(2));
                }
            }
            _ => {
                if let Some(Value::Object(properties)) = fields.get_mut("properties")
                    && let Some(below) = properties.values_mut().next()
                {
                    *below = changed(random, below, depth.saturating_sub(1));
                }
            }
        }
        Value::Object(fields)
    }

    fn instance(random: &mut StdRng, depth: u32) -> Value {
        match random.random_range(0..if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(random.random_bool(0.5)),
            2 => json!(random.random_range(-1..5)),
            3 => json!(0.5 + f64::from(random.random_range(0..4))),
            4 => json!(["", "a", "ab", "abc"].choose(random).unwrap()),
            5 => (0..random.random_range(0..4)).map(|_| instance(random, depth - 1)).collect(),
            _ => ["a", "b", "ab", "c"]
                .into_iter()
                .filter(|_| random.random_bool(0.5))
                .map(str::to_owned)
                .collect::<Vec<_>>()
                .into_iter()
                .map(|name| (name, instance(random, depth - 1)))
                .collect::<Map<String, Value>>()
                .into(),
        }
    }

    #[test]
    fn an_addition_keeps_all_valid_data_valid() {
        let mut random = StdRng::seed_from_u64(7);
        let (mut additions, mut held) = (0, 0);
        for _ in 0..6_000 {
            let old = schema(&mut random, 2);
            let new = changed(&mut random, &old, 2);
            if compare(&old, &new).bump() > Bump::Addition {
                continue;
            }
            additions += 1;
            let (before, after) =
                (Validator::compile(&old).unwrap(), Validator::compile(&new).unwrap());
            for _ in 0..60 {
                let value = instance(&mut random, 2);
                if before.allows(&value) {
                    held += 1;
                    assert!(after.allows(&value), "{value} kept {old} and breaks {new}");
                }
            }
        }
        assert!(additions > 500 && held > 5_000, "{additions} additions, {held} values");
    }

    /// A schema in which something is not what a keyword takes.
    fn broken(random: &mut StdRng) -> Value {
        let mut schema = schema(random, 2);
        let odd = [
            json!(null),
            json!(-1),
            json!(1e308),
            json!("("),
            json!({"$ref": "#/nowhere"}),
            json!([[]]),
            json!({"$ref": "https://example.com/schema"}),
            json!("\u{0}"),
            json!({"type": 7}),
        ];
        let keywords = [
            "type",
            "properties",
            "required",
            "pattern",
            "$ref",
            "$defs",
            "enum",
            "items",
            "minLength",
            "multipleOf",
            "additionalProperties",
            "patternProperties",
            "$schema",
            "format",
            "allOf",
            "if",
            "dependentSchemas",
        ];
        if let Value::Object(fields) = &mut schema {
            for _ in 0..random.random_range(1..4) {
                let keyword = (*keywords.choose(random).unwrap()).to_owned();
                fields.insert(keyword, odd.choose(random).unwrap().clone());
            }
        }
        schema
    }

    #[test]
    fn whatever_is_called_a_schema_compiles_or_says_why_it_does_not() {
        let mut random = StdRng::seed_from_u64(11);
        let mut refused = 0;
        for _ in 0..4_000 {
            let schema = broken(&mut random);
            match Validator::compile(&schema) {
                Ok(validator) => _ = validator.violations(&instance(&mut random, 2)),
                Err(problem) => {
                    assert!(!problem.is_empty() && problem.len() < 2_000, "{schema}: {problem}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 500, "{refused} refused");
    }
}
