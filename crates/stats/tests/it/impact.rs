//! LaLonde's data, as MatchIt's examples have it. The reference numbers were computed with statsmodels 0.15.0 and numpy
//! 2.4.6 on the same file.

use northstar_stats::{
    Confidence, Moments,
    impact::{
        Coarsening, Covariate, Panel, Propensity, Strata, balance, before_after, contrast, trend,
    },
    logistic,
};

use crate::close::assert_relative;

struct Men {
    treated: Vec<bool>,
    columns: Vec<Vec<f64>>,
}

impl Men {
    fn read() -> Self {
        let text = include_str!("../fixtures/lalonde.csv");
        let mut columns = vec![Vec::new(); 10];
        for line in text.lines().skip(1) {
            for (column, cell) in columns.iter_mut().zip(line.split(',')) {
                column.push(cell.parse().expect("a number"));
            }
        }
        let treated = columns.remove(0).into_iter().map(|value: f64| value == 1.0).collect();
        Self { treated, columns }
    }

    fn column(&self, name: &str) -> &[f64] {
        const NAMES: [&str; 9] =
            ["age", "educ", "black", "hispan", "married", "nodegree", "re74", "re75", "re78"];
        let at = NAMES.iter().position(|known| *known == name).expect("a known column");
        &self.columns[at]
    }

    fn panel(&self) -> Panel<'_> {
        let category =
            |name| self.column(name).iter().map(|value| *value as u32).collect::<Vec<_>>();
        let race = category("black").into_iter().zip(category("hispan")).map(|(b, h)| b + 2 * h);
        let mut covariates: Vec<Covariate> = ["age", "educ", "re74", "re75"]
            .map(|name| Covariate::number(name, self.column(name).to_vec()))
            .into();
        covariates.push(Covariate::category("race", race.collect()));
        covariates.push(Covariate::category("married", category("married")));
        covariates.push(Covariate::category("nodegree", category("nodegree")));
        Panel::new(&self.treated, covariates).expect("sound")
    }
}

#[test]
fn logistic_regression_agrees_with_statsmodels() {
    let men = Men::read();
    let names = ["age", "educ", "black", "hispan", "married", "nodegree", "re74", "re75"];
    let columns: Vec<&[f64]> = names.map(|name| men.column(name)).into();
    let fitted = logistic::fit(&columns, &men.treated).expect("it has a maximum");
    let expected = [
        -4.728_649_338_704_081,
        0.015_777_071_017_550_562,
        0.161_306_877_374_259_72,
        3.065_367_740_971_348_5,
        0.983_633_620_970_061_5,
        -0.832_113_275_350_086_5,
        0.707_296_881_383_777_8,
        -7.177_668_643_845_057e-5,
        5.344_644_707_134_278_6e-5,
    ];
    for (found, expected) in fitted.coefficients.iter().zip(expected) {
        assert_relative(*found, expected, 1e-8, "coefficient");
    }
    assert_relative(fitted.log_likelihood, -243.921_965_655_249_04, 1e-12, "log-likelihood");
}

#[test]
fn without_matching_the_programme_seems_to_harm() {
    let men = Men::read();
    let whole = Strata::whole(men.treated.len());
    let effect = |clusters| {
        let found = contrast(&men.treated, &whole, &[men.column("re78")], clusters);
        found.expect("both groups").effect(0, Confidence::P95).expect("they vary")
    };
    // OLS with HC2 errors, and with errors clustered by years of school.
    assert_relative(effect(None).estimate, -635.026_212_037_431_6, 1e-10, "difference");
    assert_relative(effect(None).standard_error, 677.195_372_432_914_6, 1e-10, "HC2");
    let school: Vec<u32> = men.column("educ").iter().map(|years| *years as u32).collect();
    let clustered = effect(Some(&school)).standard_error;
    assert_relative(clustered, 564.016_402_181_547_6, 1e-10, "clustered");
}

#[test]
fn difference_in_differences_and_its_joint_test_agree_with_ols() {
    let men = Men::read();
    let minus = |left: &str, right: &str| -> Vec<f64> {
        men.column(left).iter().zip(men.column(right)).map(|(left, right)| left - right).collect()
    };
    let (lead, lag) = (minus("re74", "re75"), minus("re78", "re75"));
    let whole = Strata::whole(men.treated.len());
    let found = contrast(&men.treated, &whole, &[&lead, &lag], None).expect("both groups");
    let effect = found.effect(1, Confidence::P95).expect("they vary");
    assert_relative(effect.estimate, 299.402_917_302_333_55, 1e-10, "difference in differences");
    assert_relative(effect.standard_error, 694.059_938_007_390_1, 1e-10, "HC2");
    let wald = found.wald(0..2).expect("they vary");
    assert_relative(wald.chi2, 44.847_166_692_958_915, 1e-10, "Wald");
    assert_relative(wald.p_value, 1.826_255_294_997_162_1e-10, 1e-8, "its p-value");
    // Earnings of the treated fell before (Ashenfelter's dip), those of the others did not: no parallel trend.
    let periods = [men.column("re74").to_vec(), men.column("re75").to_vec()];
    let study = trend::study(
        &men.treated,
        &whole,
        &periods,
        &[men.column("re78").to_vec()],
        None,
        Confidence::P95,
    );
    assert!(study.expect("both groups").diverges());
}

#[test]
fn coarsened_exact_matching_keeps_the_men_that_matchit_keeps() {
    let men = Men::read();
    let panel = men.panel();
    let strata = Strata::coarsened(&panel, &Coarsening::Sturges).expect("overlap");
    let matched = strata.matched(&men.treated);
    // MatchIt's documentation of method "cem" on these data: 65 of 185 treated and 75 of 429 others.
    assert_eq!((matched.treated_matched, matched.untreated_matched), (65, 75));
    assert_eq!(matched.strata, 25);
    assert_relative(matched.effective_untreated, 41.289_847_203_909_1, 1e-10, "effective size");
    let found = contrast(&men.treated, &strata, &[men.column("re78")], None).expect("matched");
    let effect = found.effect(0, Confidence::P95).expect("they vary");
    assert_relative(effect.estimate, 1_070.907_326_427_350_2, 1e-10, "effect");
    assert_relative(effect.standard_error, 1_454.431_620_626_694_2, 1e-10, "standard error");
    // What was matched on exactly is balanced exactly.
    let table = balance::table(&panel, &strata.weights(&men.treated));
    let married = table.iter().find(|row| row.covariate == "married=1").expect("a row");
    assert!(married.before.is_imbalanced() && !married.after.is_imbalanced());
}

#[test]
fn five_classes_of_propensity_turn_the_sign() {
    let men = Men::read();
    let panel = men.panel();
    let propensity = Propensity::fit(&panel).expect("it has a maximum");
    let strata = Strata::by_propensity(&panel, &propensity, 5).expect("overlap");
    let mut classes = vec![(0, 0); 5];
    for (class, treated) in strata.of().iter().zip(&men.treated) {
        let class = &mut classes[*class as usize];
        if *treated { class.0 += 1 } else { class.1 += 1 }
    }
    assert_eq!(classes, [(37, 356), (37, 19), (37, 25), (37, 18), (37, 11)]);
    let found = contrast(&men.treated, &strata, &[men.column("re78")], None).expect("matched");
    let effect = found.effect(0, Confidence::P95).expect("they vary");
    assert_relative(effect.estimate, 663.887_294_421_493_2, 1e-9, "effect");
    assert_relative(effect.standard_error, 846.166_841_537_015_3, 1e-9, "standard error");
    // The experiment's own control group says 1,794 (Dehejia & Wahba 1999, table 2); it lies in the interval.
    assert!(effect.interval.contains(1_794.0));
    let overlap = propensity.overlap(&men.treated);
    assert!(overlap.treated_in_range > 0.9 && overlap.concordance > 0.8, "{overlap:?}");
}

#[test]
fn standardised_differences_and_variance_ratios_are_those_of_the_tables() {
    let men = Men::read();
    let panel = men.panel();
    let propensity = Propensity::fit(&panel).expect("it has a maximum");
    let strata = Strata::by_propensity(&panel, &propensity, 5).expect("overlap");
    let table = balance::table(&panel, &strata.weights(&men.treated));
    for (name, difference, ratio) in [
        ("age", -0.309_445_261_997_981_5, 0.439_995_463_435_061_1),
        ("educ", 0.054_964_661_388_835_385, 0.495_893_371_429_209_2),
        ("re74", -0.721_083_809_071_868_5, 0.518_128_480_856_177_2),
        ("re75", -0.290_262_911_185_457_2, 0.956_293_045_388_950_1),
    ] {
        let row = table.iter().find(|row| row.covariate == name).expect("a row");
        let standardised = row.before.standardised_difference.expect("it varies");
        assert_relative(standardised, difference, 1e-10, name);
        assert_relative(row.before.variance_ratio.expect("it varies"), ratio, 1e-10, name);
    }
    for (name, difference) in
        [("age", -0.049_900_470_718_084_386), ("re74", -0.155_980_249_127_598_59)]
    {
        let row = table.iter().find(|row| row.covariate == name).expect("a row");
        let standardised = row.after.standardised_difference.expect("it varies");
        assert_relative(standardised, difference, 1e-8, name);
    }
}

#[test]
fn the_treated_alone_seem_to_gain_whatever_happened_meanwhile() {
    let men = Men::read();
    let changes: Moments = men
        .column("re78")
        .iter()
        .zip(men.column("re75"))
        .zip(&men.treated)
        .filter(|(_, treated)| **treated)
        .map(|((after, before), _)| after - before)
        .collect();
    let effect = before_after(&changes, Confidence::P95).expect("they vary");
    assert!(effect.estimate > 4_000.0 && effect.interval.low > 0.0, "{effect:?}");
}
