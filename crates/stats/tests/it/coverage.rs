//! Worlds in which the truth is planted: how often the interval holds it, over a fixed list of seeds.

use northstar_stats::{
    Confidence, Interval, Moments,
    impact::{Coarsening, Covariate, Panel, Propensity, Strata, before_after, contrast, trend},
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What adoption does to the weekly number of actions.
const TRUTH: f64 = 1.0;
const SEEDS: std::ops::Range<u64> = 0..300;
/// With 300 seeds the share of intervals that hold the truth has a standard deviation of 1.3 points; three of them.
const TOLERANCE: f64 = 0.04;

struct World {
    treated: Vec<bool>,
    plan: Vec<u32>,
    before: Vec<Vec<f64>>,
    after: Vec<f64>,
}

/// Customers on three plans. Those on larger plans do more, grow faster by themselves, and adopt more often: the naive
/// comparisons take their growth for the effect. `drift` lets adopters diverge before they adopt.
fn world(seed: u64, drift: f64) -> World {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut world = World { treated: vec![], plan: vec![], before: vec![vec![]; 4], after: vec![] };
    for at in 0..600 {
        let plan = at % 3;
        let treated = random.random_bool([0.15, 0.3, 0.6][plan]);
        let level = [2.0, 5.0, 10.0][plan] + noise(&mut random);
        let growth = [0.0, 1.0, 3.0][plan];
        for (period, column) in world.before.iter_mut().enumerate() {
            let drift = if treated { drift * period as f64 } else { 0.0 };
            column.push(level + drift + noise(&mut random));
        }
        let effect = if treated { TRUTH + 4.0 * drift } else { 0.0 };
        world.after.push(level + growth + effect + 1.5 * noise(&mut random));
        world.treated.push(treated);
        world.plan.push(plan as u32);
    }
    world
}

/// A standard normal number (Box & Muller 1958).
fn noise(random: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

impl World {
    fn changes(&self) -> Vec<f64> {
        (0..self.after.len())
            .map(|at| {
                let before: f64 = self.before.iter().map(|column| column[at]).sum();
                self.after[at] - before / self.before.len() as f64
            })
            .collect()
    }

    fn panel(&self) -> Panel<'_> {
        let plan = Covariate::category("plan", self.plan.clone());
        Panel::new(&self.treated, vec![plan]).expect("sound")
    }

    fn interval(&self, strata: &Strata) -> Interval {
        let found = contrast(&self.treated, strata, &[&self.changes()], None).expect("sound");
        found.effect(0, Confidence::P95).expect("they vary").interval
    }
}

#[test]
fn the_matched_interval_holds_the_truth_as_often_as_it_says() {
    let (mut matched, mut unmatched, mut alone, mut alarms) = (0, 0, 0, 0);
    for seed in SEEDS {
        let world = world(seed, 0.0);
        let strata = Strata::exact(&world.panel()).expect("overlap");
        matched += u32::from(world.interval(&strata).contains(TRUTH));
        let whole = Strata::whole(world.treated.len());
        unmatched += u32::from(world.interval(&whole).contains(TRUTH));
        let changes = world.changes();
        let own: Moments =
            changes.iter().zip(&world.treated).filter(|(_, t)| **t).map(|(c, _)| *c).collect();
        let naive = before_after(&own, Confidence::P95).expect("they vary");
        alone += u32::from(naive.interval.contains(TRUTH));
        let study =
            trend::study(&world.treated, &strata, &world.before, &[], None, Confidence::P95);
        alarms += u32::from(study.expect("sound").diverges());
    }
    let share = |count: u32| f64::from(count) / (SEEDS.end - SEEDS.start) as f64;
    assert!((share(matched) - 0.95).abs() < TOLERANCE, "matched: {}", share(matched));
    assert!(share(unmatched) < 0.05, "unmatched: {}", share(unmatched));
    assert!(share(alone) < 0.05, "before and after: {}", share(alone));
    // The test for parallel trends is wrong as often as it says, too.
    assert!((share(alarms) - 0.05).abs() < TOLERANCE, "false alarms: {}", share(alarms));
}

#[test]
fn a_drift_before_adoption_is_noticed() {
    let noticed = (0..40)
        .filter(|seed| {
            let world = world(*seed, 0.4);
            let strata = Strata::exact(&world.panel()).expect("overlap");
            trend::study(&world.treated, &strata, &world.before, &[], None, Confidence::P95)
                .expect("sound")
                .diverges()
        })
        .count();
    assert!(noticed >= 38, "{noticed} of 40");
}

#[test]
fn classes_of_propensity_and_of_the_past_remove_most_of_the_bias() {
    let (mut naive, mut classes, mut coarsened) = (0.0, 0.0, 0.0);
    for seed in 0..60 {
        let world = world(seed, 0.0);
        let mean: Vec<f64> = (0..world.after.len())
            .map(|at| world.before.iter().map(|column| column[at]).sum::<f64>() / 4.0)
            .collect();
        // The plan is not known, only what was done before.
        let panel = Panel::new(&world.treated, vec![Covariate::number("before", mean)]);
        let panel = panel.expect("sound");
        let propensity = Propensity::fit(&panel).expect("it has a maximum");
        let bias = |strata: &Strata| {
            let interval = world.interval(strata);
            0.5 * (interval.low + interval.high) - TRUTH
        };
        naive += bias(&Strata::whole(world.treated.len()));
        classes += bias(&Strata::by_propensity(&panel, &propensity, 10).expect("overlap"));
        let bins = Coarsening::Quantiles(10);
        coarsened += bias(&Strata::coarsened(&panel, &bins).expect("overlap"));
    }
    assert!(naive > 40.0, "the naive comparison is wrong by {}", naive / 60.0);
    // Ten classes of something that was measured with noise leave a part of the bias.
    assert!(classes.abs() < 0.25 * naive, "classes {} of {}", classes / 60.0, naive / 60.0);
    assert!(coarsened.abs() < 0.25 * naive, "coarsened {} of {}", coarsened / 60.0, naive / 60.0);
}
