//! Why a number moved: what each segment contributed, and the fewest segments that explain it.

mod search;
mod split;

pub use self::{
    search::{Explanation, Leaf, Search, Segment, search},
    split::{Additive, Contribution, RateMix, additive, rate_and_mix},
};
