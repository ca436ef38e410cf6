//! The simulated SaaS company: 20,000 people, 60 days, and what each of them
//! would do with and without the nudge and the new onboarding. Everything is a
//! function of the seed; nothing here knows Northstar.
//!
//! Both potential outcomes of a person come from one uniform draw, so the true
//! effect of a treatment is the mean difference over the people who met it: the
//! sample average treatment effect that a randomised comparison estimates.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

/// People who sign up.
pub const PEOPLE: u32 = 20_000;
/// Simulated days.
pub const DAYS: i64 = 60;
/// First simulated instant, 2026-01-05T00:00:00Z (a Monday), in microseconds.
pub const START_MICROS: i64 = 1_767_571_200_000_000;

/// Microseconds of an hour.
pub const HOUR: i64 = 3_600_000_000;
/// Microseconds of a day.
pub const DAY: i64 = 24 * HOUR;
/// Last simulated instant, exclusive, in microseconds.
pub const END_MICROS: i64 = START_MICROS + DAYS * DAY;

const COUNTRIES: [&str; 6] = ["US", "DE", "GB", "FR", "IN", "BR"];
const CHANNELS: [&str; 4] = ["organic", "paid", "referral", "partner"];
const PAGES: [&str; 5] = ["/", "/pricing", "/docs", "/customers", "/signup"];
const FEATURES: [&str; 5] = ["dashboard", "report", "alert", "import", "share"];

/// What somebody did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// Looked at a page before signing up.
    PageViewed(&'static str),
    /// Signed up.
    SignedUp,
    /// Started a trial.
    TrialStarted,
    /// Had not finished the set-up after two days.
    SetupStalled,
    /// Reached first value.
    Activated,
    /// Used a feature.
    FeatureUsed(&'static str),
    /// Opened a support ticket.
    TicketOpened,
    /// Got it resolved.
    TicketResolved,
    /// Became a paying customer.
    Subscribed,
    /// Paid an invoice, in cents.
    InvoicePaid(i64),
}

/// One thing one person did.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// When, in microseconds since the epoch.
    pub at: i64,
    /// Who, as an index.
    pub person: u32,
    /// What.
    pub what: What,
}

/// A person, and the draws that decide what they do.
#[derive(Clone, Debug)]
pub struct Person {
    /// When they sign up.
    pub signup: i64,
    /// Where they live.
    pub country: &'static str,
    /// How they found the company.
    pub channel: &'static str,
    /// `free`, `pro` or `team`.
    pub plan: &'static str,
    /// Whether they are stuck after two days, and so can be nudged.
    pub stalled: bool,
    activation_draw: f64,
    activation_base: f64,
    subscription_draw: f64,
    subscription_base: f64,
}

/// How the planted effects of one seed are sized.
#[derive(Clone, Copy, Debug)]
pub struct Effects {
    /// Added to the probability that a stalled person activates when nudged.
    pub nudge: f64,
    /// Added to the probability that a person subscribes with the new
    /// onboarding.
    pub onboarding: f64,
}

/// The company of one seed.
pub struct Company {
    /// Everybody.
    pub people: Vec<Person>,
    /// The planted effects.
    pub effects: Effects,
    seed: u64,
}

/// Independent streams of randomness of one person.
#[derive(Clone, Copy)]
enum Stream {
    Character = 0,
    Before = 1,
    After = 2,
}

impl Company {
    /// Draws the company of a seed.
    pub fn new(seed: u64) -> Self {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let effects = Effects {
            nudge: dice.random_range(0.08..0.16),
            onboarding: dice.random_range(0.03..0.07),
        };
        let mut company = Self { people: Vec::new(), effects, seed };
        company.people = (0..PEOPLE).map(|person| company.draw_person(person)).collect();
        company
    }

    fn dice(&self, person: u32, stream: Stream) -> ChaCha8Rng {
        let mut dice = ChaCha8Rng::seed_from_u64(self.seed);
        dice.set_stream(1 + u64::from(person) * 4 + stream as u64);
        dice
    }

    fn draw_person(&self, person: u32) -> Person {
        let mut dice = self.dice(person, Stream::Character);
        // Nobody signs up in the last 16 days, so that every outcome has time.
        let signup = loop {
            let at = START_MICROS + dice.random_range(0..(DAYS - 16) * DAY);
            let weekend = (at - START_MICROS) / DAY % 7 >= 5;
            if !weekend || dice.random_bool(0.6) {
                break at;
            }
        };
        let plan = match dice.random_range(0..10) {
            0..=4 => "free",
            5..=7 => "pro",
            _ => "team",
        };
        Person {
            signup,
            country: COUNTRIES[dice.random_range(0..COUNTRIES.len())],
            channel: CHANNELS[dice.random_range(0..CHANNELS.len())],
            plan,
            stalled: dice.random_bool(0.5),
            activation_draw: dice.random(),
            activation_base: 0.24 + if plan == "team" { 0.08 } else { 0.0 },
            subscription_draw: dice.random(),
            subscription_base: if plan == "free" { 0.10 } else { 0.22 },
        }
    }

    /// Whether a person activates. Who is not stalled never needs a nudge.
    pub fn activates(&self, person: u32, nudged: bool) -> bool {
        let somebody = &self.people[person as usize];
        if !somebody.stalled {
            return somebody.activation_draw < 0.62;
        }
        let lift = if nudged { self.effects.nudge } else { 0.0 };
        somebody.activation_draw < somebody.activation_base + lift
    }

    /// Whether a person subscribes.
    pub fn subscribes(&self, person: u32, new_onboarding: bool) -> bool {
        let somebody = &self.people[person as usize];
        let lift = if new_onboarding { self.effects.onboarding } else { 0.0 };
        somebody.subscription_draw < somebody.subscription_base + lift
    }

    /// The true effect of the nudge over the given people.
    pub fn nudge_truth(&self, people: impl Iterator<Item = u32>) -> f64 {
        mean_difference(people, |person, treated| self.activates(person, treated))
    }

    /// The true effect of the new onboarding over the given people.
    pub fn onboarding_truth(&self, people: impl Iterator<Item = u32>) -> f64 {
        mean_difference(people, |person, treated| self.subscribes(person, treated))
    }

    /// What happens before anybody is treated: visits, sign-ups, trials and
    /// stalled set-ups, in order of time.
    pub fn before(&self) -> Vec<Fact> {
        let mut facts = Vec::with_capacity(160_000);
        for (person, somebody) in (0..).zip(&self.people) {
            let mut dice = self.dice(person, Stream::Before);
            let mut note = |at, what| facts.push(Fact { at, person, what });
            for visit in 0..dice.random_range(2..=6) {
                let earlier = dice.random_range(1..48 * HOUR);
                let page = PAGES[if visit == 0 { 0 } else { dice.random_range(0..PAGES.len()) }];
                note(somebody.signup - earlier, What::PageViewed(page));
            }
            note(somebody.signup, What::SignedUp);
            if somebody.plan != "free" {
                note(somebody.signup + 5 * 60_000_000, What::TrialStarted);
            }
            if somebody.stalled {
                note(somebody.signup + 2 * DAY, What::SetupStalled);
            }
        }
        facts.sort_by_key(|fact| (fact.at, fact.person));
        facts
    }

    /// What happens after, given who was nudged and who got the new
    /// onboarding, in order of time.
    pub fn after(
        &self,
        nudged: impl Fn(u32) -> bool,
        new_onboarding: impl Fn(u32) -> bool,
    ) -> Vec<Fact> {
        let mut facts = Vec::with_capacity(420_000);
        for person in 0..PEOPLE {
            self.live(person, nudged(person), new_onboarding(person), &mut facts);
        }
        facts.retain(|fact| fact.at < END_MICROS);
        facts.sort_by_key(|fact| (fact.at, fact.person));
        facts
    }

    fn live(&self, person: u32, nudged: bool, new_onboarding: bool, facts: &mut Vec<Fact>) {
        let somebody = &self.people[person as usize];
        let mut dice = self.dice(person, Stream::After);
        let mut note = |at, what| facts.push(Fact { at, person, what });

        let activated = self.activates(person, nudged);
        if activated {
            let wait = if somebody.stalled {
                2 * DAY + dice.random_range(HOUR..3 * DAY)
            } else {
                dice.random_range(HOUR / 6..2 * DAY)
            };
            note(somebody.signup + wait, What::Activated);
        }
        let subscribed = self.subscribes(person, new_onboarding);
        if subscribed {
            let at = somebody.signup + 3 * DAY + dice.random_range(0..11 * DAY);
            let cents = if somebody.plan == "team" { 9_900 } else { 2_900 };
            note(at, What::Subscribed);
            note(at + HOUR, What::InvoicePaid(cents));
            note(at + HOUR + 30 * DAY, What::InvoicePaid(cents));
        }
        // People come back less and less, those who found value much longer.
        let stay: f64 = if activated || subscribed { 0.975 } else { 0.80 };
        let mut alive = 0.9;
        for day in 0..DAYS {
            if dice.random_bool(alive) {
                let morning = somebody.signup + day * DAY + dice.random_range(2 * HOUR..14 * HOUR);
                for _ in 0..dice.random_range(1..=3) {
                    let feature = FEATURES[dice.random_range(0..FEATURES.len())];
                    note(morning + dice.random_range(0..2 * HOUR), What::FeatureUsed(feature));
                }
            }
            alive *= if day == 0 { 0.55 } else { stay };
        }
        if dice.random_bool(0.22) {
            let opened = somebody.signup + dice.random_range(HOUR..12 * DAY);
            note(opened, What::TicketOpened);
            note(opened + dice.random_range(HOUR / 2..40 * HOUR), What::TicketResolved);
        }
    }
}

fn mean_difference(people: impl Iterator<Item = u32>, outcome: impl Fn(u32, bool) -> bool) -> f64 {
    let (mut count, mut difference) = (0_u32, 0_i32);
    for person in people {
        count += 1;
        difference += i32::from(outcome(person, true)) - i32::from(outcome(person, false));
    }
    f64::from(difference) / f64::from(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_company() {
        let (one, two) = (Company::new(7), Company::new(7));
        let facts = one.after(|person| person % 2 == 0, |person| person % 3 == 0);
        let again = two.after(|person| person % 2 == 0, |person| person % 3 == 0);
        assert_eq!(facts.len(), again.len());
        assert!(facts.iter().zip(&again).all(|(a, b)| a.at == b.at && a.what == b.what));
        assert_ne!(Company::new(8).effects.nudge, one.effects.nudge);
    }

    #[test]
    fn it_makes_about_half_a_million_events() {
        let company = Company::new(1);
        let count = company.before().len() + company.after(|_| true, |_| false).len();
        assert!((440_000..560_000).contains(&count), "{count}");
    }

    #[test]
    fn the_truth_is_the_planted_effect_on_average() {
        let company = Company::new(3);
        let stalled = (0..PEOPLE).filter(|person| company.people[*person as usize].stalled);
        assert!((company.nudge_truth(stalled) - company.effects.nudge).abs() < 0.015);
        assert!((company.onboarding_truth(0..PEOPLE) - company.effects.onboarding).abs() < 0.01);
    }
}
