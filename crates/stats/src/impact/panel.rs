//! Who was treated, and what was known of everybody before.

use serde::{Deserialize, Serialize};

use crate::{Undefined, logistic::Unfitted};

/// What was known of every subject before day zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Covariate {
    /// How people call it.
    pub name: String,
    /// One per subject.
    pub values: Values,
}

/// The values of a covariate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// Amounts.
    Number(Vec<f64>),
    /// Numbers of categories, without order.
    Category(Vec<u32>),
}

impl Covariate {
    /// An amount per subject.
    pub fn number(name: impl Into<String>, values: Vec<f64>) -> Self {
        Self { name: name.into(), values: Values::Number(values) }
    }

    /// A category per subject.
    pub fn category(name: impl Into<String>, values: Vec<u32>) -> Self {
        Self { name: name.into(), values: Values::Category(values) }
    }

    fn len(&self) -> usize {
        match &self.values {
            Values::Number(values) => values.len(),
            Values::Category(values) => values.len(),
        }
    }
}

/// Why there is no matched comparison.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ImpactError {
    /// A covariate has not one value per subject.
    #[error("covariate {covariate} has {found} values for {subjects} subjects")]
    Lengths {
        /// Which covariate.
        covariate: String,
        /// How many values it has.
        found: usize,
        /// How many it should have.
        subjects: usize,
    },
    /// A value is infinite or not a number.
    #[error("covariate {covariate} has a value that is not a finite number")]
    NotFinite {
        /// Which covariate.
        covariate: String,
    },
    /// Nobody was treated.
    #[error("nobody was treated")]
    NobodyTreated,
    /// Everybody was treated.
    #[error("everybody was treated, so there is nobody to compare with")]
    NobodyUntreated,
    /// No stratum holds both a treated and an untreated subject.
    #[error("no untreated subject is like any treated one: ask for fewer or coarser covariates")]
    NoOverlap,
    /// A parameter of the method makes no sense.
    #[error("{name} is {value}, but must be {range}")]
    OutOfRange {
        /// Which parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// The allowed range in words.
        range: &'static str,
    },
    /// The chance of treatment could not be estimated.
    #[error("the chance of being treated cannot be estimated: {0}")]
    Propensity(#[from] Unfitted),
    /// The effect does not exist for these numbers.
    #[error(transparent)]
    Undefined(#[from] Undefined),
}

/// Treated and untreated subjects with their covariates.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel<'a> {
    treated: &'a [bool],
    covariates: Vec<Covariate>,
}

impl<'a> Panel<'a> {
    /// Checks that every covariate has a finite value per subject and that both groups exist.
    ///
    /// # Errors
    /// [`ImpactError`] says which is missing.
    pub fn new(treated: &'a [bool], covariates: Vec<Covariate>) -> Result<Self, ImpactError> {
        for covariate in &covariates {
            if covariate.len() != treated.len() {
                return Err(ImpactError::Lengths {
                    covariate: covariate.name.clone(),
                    found: covariate.len(),
                    subjects: treated.len(),
                });
            }
            if let Values::Number(values) = &covariate.values
                && values.iter().any(|value| !value.is_finite())
            {
                return Err(ImpactError::NotFinite { covariate: covariate.name.clone() });
            }
        }
        if !treated.contains(&true) {
            return Err(ImpactError::NobodyTreated);
        }
        if !treated.contains(&false) {
            return Err(ImpactError::NobodyUntreated);
        }
        Ok(Self { treated, covariates })
    }

    /// Who was treated.
    pub fn treated(&self) -> &'a [bool] {
        self.treated
    }

    /// What is known of them.
    pub fn covariates(&self) -> &[Covariate] {
        &self.covariates
    }

    /// Every covariate as numbers: categories as one indicator per category, by category. Names of indicators are
    /// the covariate's with the category behind `=`.
    pub(crate) fn columns(&self) -> Vec<(String, Vec<f64>)> {
        let mut columns = Vec::new();
        for covariate in &self.covariates {
            match &covariate.values {
                Values::Number(values) => columns.push((covariate.name.clone(), values.clone())),
                Values::Category(values) => {
                    let mut levels = values.clone();
                    levels.sort_unstable();
                    levels.dedup();
                    for level in levels {
                        let indicator =
                            values.iter().map(|value| f64::from(u8::from(*value == level)));
                        columns.push((format!("{}={level}", covariate.name), indicator.collect()));
                    }
                }
            }
        }
        columns
    }
}
