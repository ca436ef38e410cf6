//! What a change did to those who took it up, when nobody was assigned at random: matching, difference in differences,
//! and the checks that say how far to believe it.
//!
//! The order of work is always the same: describe who was treated and what was known before ([`Panel`]), put like with
//! like ([`Strata`]), look whether they are alike ([`balance`]), compare changes within strata ([`contrast`]), and ask
//! whether the groups moved alike before ([`trend`]). The outcome has no part in the matching.
//!
//! ```
//! use northstar_stats::{Confidence, impact::{Covariate, Panel, Strata, contrast}};
//!
//! // Heavy users adopt more often and grow more anyway; within light and heavy the adopters gain 1.
//! let treated = [true, false, false, false, true, true, true, false, false];
//! let heavy = [0, 0, 0, 0, 1, 1, 1, 1, 1];
//! let change = [1.1, 0.0, 0.2, 0.1, 6.0, 6.1, 5.9, 5.1, 4.9];
//! let panel = Panel::new(&treated, vec![Covariate::category("heavy", heavy.to_vec())])?;
//! let strata = Strata::exact(&panel)?;
//! let matched = contrast(&treated, &strata, &[&change], None)?;
//! assert!((matched.effect(0, Confidence::P95)?.estimate - 1.0).abs() < 1e-9);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod balance;
pub mod trend;

mod contrast;
mod evidence;
mod panel;
mod propensity;
mod ratio;
mod strata;

pub use self::{
    contrast::{Contrast, Wald, before_after, contrast},
    evidence::{Evidence, Findings},
    panel::{Covariate, ImpactError, Panel, Values},
    propensity::{Overlap, Propensity},
    ratio::linearised,
    strata::{Coarsening, Matched, Strata},
};
