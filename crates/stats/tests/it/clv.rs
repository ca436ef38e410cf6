//! CDNOW, the data set that the papers on customer value print their parameters for.

use northstar_stats::clv::{BgNbd, Customer, GammaGamma, Horizon, lifetime_value};
use serde_json::Value;

use crate::{
    close::assert_relative,
    data::{json, number, path},
};

/// Columns of a small CSV file without quotes, after the header.
fn rows(file: &str) -> Option<Vec<Vec<f64>>> {
    let path = path(file)?;
    let text = std::fs::read_to_string(path).expect("a readable file");
    let parse = |line: &str| line.split(',').map(|cell| cell.parse().expect("a number")).collect();
    Some(text.lines().skip(1).map(parse).collect())
}

fn customers() -> Option<Vec<Customer>> {
    let rows = rows("cdnow/cdnow_customers_summary.csv")?;
    let customer =
        |row: Vec<f64>| Customer { frequency: row[1] as u32, recency: row[2], age: row[3] };
    Some(rows.into_iter().map(customer).collect())
}

fn expected() -> Option<Value> {
    Some(json("cdnow/expected.json")?["expected"]["clv_models_on_cdnow_customers_summary"].clone())
}

#[test]
fn bg_nbd_reproduces_the_parameters_of_the_paper() {
    let (Some(customers), Some(expected)) = (customers(), expected()) else { return };
    assert_eq!(customers.len(), 2_357);
    let fitted = BgNbd::fit(&customers).expect("it has a maximum");
    // Fader, Hardie & Lee 2005, table 2, as printed.
    for (found, printed) in [
        (fitted.model.r, 0.243),
        (fitted.model.alpha, 4.414),
        (fitted.model.a, 0.793),
        (fitted.model.b, 2.426),
    ] {
        assert!((found - printed).abs() < 6e-4, "{found} is not {printed}");
    }
    assert!((fitted.log_likelihood + 9_582.4).abs() < 0.05, "{}", fitted.log_likelihood);
    // And to more digits, as another implementation found them.
    let reference = &expected["bgnbd"];
    let of = |key: &str| number(&reference["params"], key);
    assert_relative(fitted.model.r, of("r"), 1e-4, "r");
    assert_relative(fitted.model.alpha, of("alpha"), 1e-4, "alpha");
    assert_relative(fitted.model.a, of("a"), 3e-4, "a");
    assert_relative(fitted.model.b, of("b"), 3e-4, "b");
    assert!(fitted.log_likelihood >= number(reference, "log_likelihood") - 1e-6);

    let somebody = Customer { frequency: 2, recency: 30.43, age: 38.86 };
    let ahead = fitted.model.expected_purchases(&somebody, 39.0);
    assert_relative(ahead, number(reference, "E_purchases_39w_x2_tx30.43_T38.86"), 1e-4, "ahead");
    assert!((ahead - 1.226).abs() < 1e-3, "the paper prints 1.226, not {ahead}");
    let alive = fitted.model.p_alive(&somebody);
    assert_relative(alive, number(reference, "p_alive_x2_tx30.43_T38.86"), 1e-4, "alive");
    let of_new = fitted.model.expected_of_new(39.0);
    assert_relative(of_new, number(reference, "expected_purchases_new_customer_39w"), 1e-4, "new");
}

#[test]
fn gamma_gamma_reproduces_the_parameters_of_the_note() {
    let Some(rows) = rows("cdnow/cdnow_customers_summary_with_monetary.csv") else { return };
    let Some(expected) = expected() else { return };
    let spent: Vec<(u32, f64)> = rows.iter().map(|row| (row[1] as u32, row[4])).collect();
    let fitted = GammaGamma::fit(&spent).expect("it has a maximum");
    // Fader & Hardie 2013, as printed: 6.25, 3.74, 15.44.
    assert!((fitted.model.p - 6.25).abs() < 6e-3, "{:?}", fitted.model);
    assert!((fitted.model.q - 3.74).abs() < 6e-3, "{:?}", fitted.model);
    assert!((fitted.model.v - 15.44).abs() < 2e-2, "{:?}", fitted.model);
    let reference = &expected["gamma_gamma"];
    assert_relative(fitted.model.p, number(&reference["params"], "p"), 1e-3, "p");
    assert_relative(fitted.model.q, number(&reference["params"], "q"), 1e-3, "q");
    assert_relative(fitted.model.v, number(&reference["params"], "v"), 1e-3, "v");
    let correlation = number(reference, "corr_frequency_monetary");
    assert_relative(fitted.correlation, correlation, 1e-9, "correlation");
    let amounts = reference["conditional_expected_average_profit_first5"].as_array();
    let customers = reference["customers"].as_array();
    for (id, amount) in customers.expect("ids").iter().zip(amounts.expect("amounts")) {
        let (frequency, mean) = spent[id.as_u64().expect("an id") as usize - 1];
        let found = fitted.model.expected_amount(frequency, mean).expect("q above 1");
        assert_relative(found, amount.as_f64().expect("a number"), 2e-4, "expected amount");
    }
}

#[test]
fn lifetime_values_are_those_of_the_established_package() {
    let (Some(customers), Some(expected)) = (customers(), expected()) else { return };
    let Some(rows) = rows("cdnow/cdnow_customers_summary_with_monetary.csv") else { return };
    let reference = &expected["clv_12_months_1pct_monthly"];
    let parameters = &reference["bgnbd_params_on_this_table"];
    let model = BgNbd {
        r: number(parameters, "r"),
        alpha: number(parameters, "alpha"),
        a: number(parameters, "a"),
        b: number(parameters, "b"),
    };
    let of = |key: &str| number(&expected["gamma_gamma"]["params"], key);
    let amounts = GammaGamma { p: of("p"), q: of("q"), v: of("v") };
    // The package takes a month for thirty units of time, whatever the unit is.
    let horizon = Horizon { periods: 12, length: 30.0, rate: 0.01 };
    let value = |at: usize| {
        let (frequency, mean) = (rows[at][1] as u32, rows[at][4]);
        let amount = amounts.expected_amount(frequency, mean).expect("q above 1");
        lifetime_value(&model, &customers[at], amount, horizon)
    };
    for (id, worth) in reference["first_10"].as_object().expect("values by id") {
        let at = id.parse::<usize>().expect("an id") - 1;
        assert_relative(value(at), worth.as_f64().expect("a number"), 1e-6, id);
    }
    let sum: f64 = (0..customers.len()).map(value).sum();
    assert_relative(sum, number(reference, "sum"), 1e-6, "sum");
}
