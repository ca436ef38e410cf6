//! `cargo xtask coverage`: does a 95 % interval hold the truth as often as it says?
//!
//! The demo plants true effects by its seed and reports what Northstar measured. One seed proves nothing; over many,
//! a sound interval misses now and then, and an unsound one often.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace::{self, cargo, output};

/// Which seeds to play.
#[derive(clap::Args)]
pub struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    first: u64,
}

/// A planted truth and the interval that was reported for it.
#[derive(Debug, PartialEq)]
struct Reported {
    /// What was measured: `automation renewal-nudge`.
    name: String,
    low: f64,
    high: f64,
    truth: f64,
}

impl Reported {
    fn holds(&self) -> bool {
        (self.low..=self.high).contains(&self.truth)
    }
}

/// Plays the seeds, prints a line for each interval, and fails if the intervals of too few seeds hold.
pub fn run(args: &Args) -> Result<()> {
    workspace::run(cargo().args(["build", "--quiet", "--release", "--package", "northstar-cli"]))?;
    let program = workspace::target_directory()?.join("release/northstar");

    println!("{:>5}  {:<40} {:>12} {:>12} {:>12}  holds", "seed", "what", "truth", "low", "high");
    let mut seeds_that_hold = 0;
    let mut held_by_name: BTreeMap<String, u64> = BTreeMap::new();
    for seed in args.first..args.first + args.seeds {
        let all = play(&program, seed).with_context(|| format!("seed {seed}"))?;
        seeds_that_hold += u64::from(all.iter().all(Reported::holds));
        for one in &all {
            let Reported { name, low, high, truth } = one;
            let holds = if one.holds() { "yes" } else { "NO" };
            println!("{seed:>5}  {name:<40} {truth:>12.6} {low:>12.6} {high:>12.6}  {holds}");
            *held_by_name.entry(name.clone()).or_default() += u64::from(one.holds());
        }
    }
    for (name, held) in held_by_name {
        println!("{name}: {held} of {} intervals hold the truth", args.seeds);
    }
    println!("all intervals hold for {seeds_that_hold} of {} seeds", args.seeds);

    // 18 of 20, and in proportion for another number.
    let wanted = (args.seeds * 9).div_ceil(10);
    if seeds_that_hold < wanted {
        bail!(
            "the intervals hold for {seeds_that_hold} seeds, and {wanted} of {} were wanted",
            args.seeds
        );
    }
    Ok(())
}

fn play(program: &Path, seed: u64) -> Result<Vec<Reported>> {
    let answer = output(Command::new(program).args([
        "demo",
        "--exit",
        "--json",
        "--seed",
        &seed.to_string(),
    ]))?;
    let answer = serde_json::from_str(&answer).context("the demo printed no JSON document")?;
    let reported = reported(&answer)?;
    if reported.is_empty() {
        bail!("the demo reported neither an automation nor an experiment");
    }
    Ok(reported)
}

/// The intervals in the demo's answer: the lift of each automation, the effect of each experiment.
fn reported(answer: &Value) -> Result<Vec<Reported>> {
    let mut all = Vec::new();
    for (list, kind, measure) in
        [("automations", "automation", "lift"), ("experiments", "experiment", "effect")]
    {
        let entries =
            answer[list].as_array().with_context(|| format!("the demo's answer has no {list}"))?;
        for entry in entries {
            let name = format!("{kind} {}", entry["name"].as_str().unwrap_or("without a name"));
            let number = |key: &str| {
                entry[measure][key]
                    .as_f64()
                    .with_context(|| format!("{name} has no number {measure}.{key}"))
            };
            let (low, high, truth) = (number("ci_low")?, number("ci_high")?, number("truth")?);
            all.push(Reported { name, low, high, truth });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lifts_and_effects_are_read_from_the_demos_answer() {
        let answer = json!({
            "automations": [{ "name": "nudge", "lift": { "estimate": 0.04, "ci_low": 0.01, "ci_high": 0.07, "truth": 0.05 } }],
            "experiments": [{ "name": "checkout", "effect": { "estimate": 1, "ci_low": 0.5, "ci_high": 1.5, "truth": 2 } }],
        });
        let all = reported(&answer).unwrap();
        assert_eq!(
            all,
            [
                Reported {
                    name: "automation nudge".to_owned(),
                    low: 0.01,
                    high: 0.07,
                    truth: 0.05
                },
                Reported {
                    name: "experiment checkout".to_owned(),
                    low: 0.5,
                    high: 1.5,
                    truth: 2.0
                },
            ]
        );
        assert_eq!(all.iter().map(Reported::holds).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn an_interval_without_a_truth_is_an_error_that_names_it() {
        let answer = json!({
            "automations": [],
            "experiments": [{ "name": "checkout", "effect": { "ci_low": 0.5, "ci_high": 1.5 } }],
        });
        assert_eq!(
            reported(&answer).unwrap_err().to_string(),
            "experiment checkout has no number effect.truth"
        );
    }
}
