//! The outcome of every subject as values whose means are the outcome of a group, whether it is an amount or a ratio.

use northstar_engine::AdoptionAnswer;
use northstar_stats::Undefined;
use northstar_stats::impact::linearised;

use super::super::Options;

/// An outcome over one stretch of time.
#[derive(Clone)]
struct Stretch {
    above: Vec<f64>,
    /// `None` for an amount.
    below: Option<Vec<f64>>,
}

/// An outcome before and after day zero, and by period.
pub(super) struct Values {
    before: Stretch,
    after: Stretch,
    periods: Vec<Stretch>,
}

impl Stretch {
    fn pick(&self, subjects: &[usize]) -> Self {
        let pick = |column: &Vec<f64>| subjects.iter().map(|at| column[*at]).collect();
        Self { above: pick(&self.above), below: self.below.as_ref().map(pick) }
    }

    /// Values whose mean over a group, under the weights, is the outcome of the group.
    fn values(&self, adopted: &[bool], weights: &[f64]) -> Result<Vec<f64>, Undefined> {
        match &self.below {
            Some(below) => linearised(&self.above, below, adopted, weights),
            None => Ok(self.above.clone()),
        }
    }
}

impl Values {
    /// The values of an answer; amounts before are scaled to the length of the time after.
    pub(super) fn of(answer: &AdoptionAnswer, options: &Options) -> Self {
        let below = |column: &Vec<f64>| options.is_ratio.then(|| column.clone());
        let scale = if options.is_ratio { 1.0 } else { options.scale };
        let periods = answer.periods.iter().enumerate().map(|(number, above)| Stretch {
            above: above.clone(),
            below: answer.below.periods.get(number).and_then(below),
        });
        Self {
            before: Stretch {
                above: answer.before.iter().map(|value| value * scale).collect(),
                below: below(&answer.below.before),
            },
            after: Stretch { above: answer.after.clone(), below: below(&answer.below.after) },
            periods: periods.collect(),
        }
    }

    /// The same of some subjects, by their numbers; without periods.
    pub(super) fn pick(&self, subjects: &[usize]) -> Self {
        let (before, after) = (self.before.pick(subjects), self.after.pick(subjects));
        Self { before, after, periods: Vec::new() }
    }

    /// Before and after.
    pub(super) fn before_and_after(
        &self,
        adopted: &[bool],
        weights: &[f64],
    ) -> Result<(Vec<f64>, Vec<f64>), Undefined> {
        Ok((self.before.values(adopted, weights)?, self.after.values(adopted, weights)?))
    }

    /// How the outcome changed.
    pub(super) fn changes(&self, adopted: &[bool], weights: &[f64]) -> Result<Vec<f64>, Undefined> {
        let (before, after) = self.before_and_after(adopted, weights)?;
        Ok(changes(&before, &after))
    }

    /// By period, those before day zero first.
    pub(super) fn periods(
        &self,
        adopted: &[bool],
        weights: &[f64],
    ) -> Result<Vec<Vec<f64>>, Undefined> {
        self.periods.iter().map(|period| period.values(adopted, weights)).collect()
    }
}

/// After less before, subject by subject.
pub(super) fn changes(before: &[f64], after: &[f64]) -> Vec<f64> {
    after.iter().zip(before).map(|(after, before)| after - before).collect()
}
