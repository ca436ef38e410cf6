//! Every public experiment whose result was computed by other software.

use std::fs;

use serde_json::Value;
use tempfile::tempdir;

use super::{
    prepare::{self, Records},
    report::{
        assert_cuped, assert_holm, assert_ratio, assert_srm, assert_two_proportions, assert_welch,
    },
    run::{data, report},
};

/// The expected results of a set.
fn expected(set: &str) -> Option<Value> {
    let path = data(&format!("{set}/expected.json"))?;
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let document: Value = serde_json::from_str(&text).expect("a JSON document");
    Some(document["expected"].clone())
}

#[test]
fn cookie_cats() {
    let Some(expected) = expected("cookie_cats") else { return };
    let file = data("cookie_cats/cookie_cats.csv").expect("the folder exists");
    for metric in ["retention_1", "retention_7"] {
        let report = report(&file, "version", "gate_30", metric, &[]);
        assert_two_proportions(&report, "gate_40", &expected[metric]);
        assert_srm(&report, &expected["srm_50_50"]);
    }
    let all = report(&file, "version", "gate_30", "sum_gamerounds", &[]);
    assert_welch(&all, "gate_40", &expected["sum_gamerounds_all"]);

    let folder = tempdir().expect("a temporary folder");
    let players = Records::read("cookie_cats/cookie_cats.csv", b',');
    let rows = players
        .columns(["version", "sum_gamerounds"])
        .filter(|[_, rounds]| *rounds != "49854")
        .map(|row| row.map(str::to_owned));
    let file = prepare::write(folder.path(), "players.csv", ["version", "rounds"], rows);
    let without = report(
        &file,
        "version",
        "gate_30",
        "rounds:mean",
        &["--weights", "gate_30=0.5,gate_40=0.5"],
    );
    assert_welch(&without, "gate_40", &expected["sum_gamerounds_without_the_49854_outlier"]);
}

#[test]
fn hillstrom_email() {
    let Some(expected) = expected("hillstrom_email") else { return };
    let file = data("hillstrom_email/hillstrom_data.csv").expect("the folder exists");
    let run = |control: &str, metric: &str, more: &[&str]| {
        report(&file, "segment", control, metric, more)
    };
    let arms = ["Mens E-Mail", "Womens E-Mail"];
    for metric in ["visit", "conversion"] {
        let report = run("No E-Mail", metric, &[]);
        assert_srm(&report, &expected["srm"]);
        for arm in arms {
            assert_two_proportions(&report, arm, &expected[format!("{arm} vs No E-Mail")][metric]);
        }
        let direct = run("Womens E-Mail", metric, &[]);
        assert_two_proportions(&direct, "Mens E-Mail", &expected["Mens vs Womens"][metric]);
    }
    let spend = run("No E-Mail", "spend", &[]);
    let per_converter = run("No E-Mail", "spend/conversion:ratio", &[]);
    let spend_adjusted = run("No E-Mail", "spend", &["--covariate", "history"]);
    let visit_adjusted = run("No E-Mail", "visit:mean", &["--covariate", "history"]);
    for arm in arms {
        let block = &expected[format!("{arm} vs No E-Mail")];
        assert_welch(&spend, arm, &block["spend"]);
        assert_ratio(&per_converter, arm, &block["spend_per_converter_ratio"]);
        assert_cuped(&spend_adjusted, arm, &block["spend_cuped_history_two_arms"]);
        assert_cuped(&visit_adjusted, arm, &block["visit_cuped_history_two_arms"]);
    }
    assert_welch(
        &run("Womens E-Mail", "spend:mean", &[]),
        "Mens E-Mail",
        &expected["Mens vs Womens"]["spend"],
    );
}

#[test]
fn social_pressure_gotv() {
    let Some(expected) = expected("social_pressure_gotv") else { return };
    let file = data("social_pressure_gotv/social.csv.gz").expect("the folder exists");
    let weights = ["--weights", "Control=0.625,Civic Duty=0.125,Hawthorne=0.125,Neighbors=0.125"];
    let turnout = report(&file, "messages", "Control", "primary2006", &weights);
    let balance = report(
        &file,
        "messages",
        "Control",
        "primary2004",
        &["--weights", "Control=5,Civic Duty=1,Hawthorne=1,Neighbors=1"],
    );
    let adjusted =
        report(&file, "messages", "Control", "primary2006", &["--covariate", "primary2004"]);
    assert_srm(&turnout, &expected["srm_5_1_1_1"]);
    assert_srm(&balance, &expected["srm_5_1_1_1"]);
    assert_holm(&turnout, &expected["holm"]);
    for arm in ["Civic Duty", "Hawthorne", "Neighbors"] {
        let block = &expected[format!("{arm} vs Control")];
        assert_two_proportions(&turnout, arm, block);
        assert_two_proportions(&balance, arm, &expected["pretreatment_balance_primary2004"][arm]);
        assert_cuped(&adjusted, arm, &block["cuped_primary2004"]);
    }
}

#[test]
fn udacity_ab_landing_page() {
    let Some(expected) = expected("udacity_ab_landing_page") else { return };
    let raw = data("udacity_ab_landing_page/ab_data.csv.gz").expect("the folder exists");
    let report_of_rows = report(&raw, "group", "control", "converted", &[]);
    assert_two_proportions(&report_of_rows, "treatment", &expected["raw_no_cleaning_by_row"]);

    let folder = tempdir().expect("a temporary folder");
    let clean = prepare::landing_page(folder.path());
    let report_of_users = report(&clean, "group", "control", "converted", &[]);
    assert_two_proportions(&report_of_users, "treatment", &expected["clean"]);
    assert_srm(&report_of_users, &expected["srm_clean"]);

    for (country, block) in expected["by_country"].as_object().expect("countries") {
        let mut reader = csv::Reader::from_path(&clean).expect("the table above");
        let rows = reader
            .records()
            .map(|record| record.expect("a sound record"))
            .filter(|record| record[2] == **country)
            .map(|record| [record[0].to_owned(), record[1].to_owned()])
            .collect::<Vec<_>>();
        let file =
            prepare::write(folder.path(), &format!("{country}.csv"), ["group", "converted"], rows);
        assert_two_proportions(
            &report(&file, "group", "control", "converted", &[]),
            "treatment",
            block,
        );
    }
}

#[test]
fn udacity_homepage_actions() {
    let Some(expected) = expected("udacity_homepage_actions") else { return };
    let folder = tempdir().expect("a temporary folder");
    let file = prepare::homepage(folder.path());
    let report = report(&file, "group", "control", "clicked", &[]);
    assert_two_proportions(&report, "experiment", &expected["unique_id_ctr"]);
}

#[test]
fn adsmart_brand_lift() {
    let Some(expected) = expected("adsmart_brand_lift") else { return };
    let folder = tempdir().expect("a temporary folder");
    let auctions = Records::read("adsmart_brand_lift/AdSmartABdata.csv", b',');
    let rows = auctions.columns(["experiment", "yes", "no"]).map(|[arm, yes, no]| {
        let responded = yes == "1" || no == "1";
        let aware = if responded { yes } else { "" };
        [arm.to_owned(), if responded { "yes" } else { "no" }.to_owned(), aware.to_owned()]
    });
    let file = prepare::write(folder.path(), "ads.csv", ["experiment", "responded", "aware"], rows);

    let response = report(&file, "experiment", "control", "responded", &[]);
    assert_two_proportions(&response, "exposed", &expected["response_rate_differs"]);
    assert_srm(&response, &expected["srm_all"]);

    // Those who did not respond have no value: they are counted as missing, not compared.
    let awareness = report(&file, "experiment", "control", "aware", &[]);
    assert_two_proportions(&awareness, "exposed", &expected["brand_awareness_among_responders"]);
    assert_eq!(awareness["rows"]["read"], 8_077);
    assert_eq!(awareness["rows"]["missing_metric"], 8_077 - 1_243);
    assert_srm(&awareness, &expected["srm_all"]);

    let responders = auctions
        .columns(["experiment", "yes", "no"])
        .filter(|[_, yes, no]| *yes == "1" || *no == "1")
        .map(|[arm, yes, _]| [arm.to_owned(), yes.to_owned()]);
    let file = prepare::write(folder.path(), "responders.csv", ["experiment", "aware"], responders);
    let among_responders = report(&file, "experiment", "control", "aware", &[]);
    assert_two_proportions(
        &among_responders,
        "exposed",
        &expected["brand_awareness_among_responders"],
    );
    assert_srm(&among_responders, &expected["srm_responders"]);
}

#[test]
fn dating_app_price_aab() {
    let Some(expected) = expected("dating_app_price_aab") else { return };
    let folder = tempdir().expect("a temporary folder");
    let file = prepare::dating_app(folder.path());
    for (name, control, variant) in [
        ("AA control_2 vs control_1", "control_1", "control_2"),
        ("test vs control_1", "control_1", "test"),
        ("test vs control_2", "control_2", "test"),
    ] {
        let conversion = report(&file, "arm", control, "paid", &[]);
        assert_two_proportions(&conversion, variant, &expected[name]["payer_conversion"]);
        assert_srm(&conversion, &expected["srm_three"]);
        assert_welch(
            &report(&file, "arm", control, "revenue", &[]),
            variant,
            &expected[name]["arpu"],
        );
        assert_welch(
            &report(&file, "arm", control, "revenue_of_payers", &[]),
            variant,
            &expected[name]["arppu"],
        );
    }
}

#[test]
fn fast_food_promotions() {
    let Some(expected) = expected("fast_food_promotions") else { return };
    let folder = tempdir().expect("a temporary folder");
    let weeks = data("fast_food_promotions/WA_Marketing-Campaign.csv").expect("the folder exists");
    let stores = prepare::stores(folder.path());
    for (name, control, variant) in
        [("2 vs 1", "1", "2"), ("3 vs 1", "1", "3"), ("3 vs 2", "2", "3")]
    {
        let by_week = report(&weeks, "Promotion", control, "SalesInThousands", &[]);
        assert_welch(&by_week, variant, &expected["pairwise_welch_row_level"][name]);
        let by_store = report(&stores, "promotion", control, "sales", &[]);
        assert_welch(
            &by_store,
            variant,
            &expected["pairwise_welch_store_means_correct_unit"][name],
        );
    }
}

#[test]
fn marketing_campaign_daily_ab() {
    let Some(expected) = expected("marketing_campaign_daily_ab") else { return };
    let folder = tempdir().expect("a temporary folder");
    let file = prepare::campaign_days(folder.path());
    for (name, metric) in [
        ("ctr", "clicks/impressions:ratio"),
        ("purchase_per_click", "purchases/clicks:ratio"),
        ("cart_to_purchase", "purchases/carts:ratio"),
        ("cost_per_purchase", "spend/purchases:ratio"),
        ("cost_per_click", "spend/clicks:ratio"),
    ] {
        let report = report(&file, "campaign", "control", metric, &[]);
        assert_ratio(&report, "test", &expected[name]);
        assert_eq!(report["rows"]["missing_metric"], 1);
    }
    assert_welch(
        &report(&file, "campaign", "control", "spend", &[]),
        "test",
        &expected["daily_spend_welch"],
    );
    assert_welch(
        &report(&file, "campaign", "control", "purchases", &[]),
        "test",
        &expected["daily_purchases_welch"],
    );
}

#[test]
fn store_orders_ab_hypotheses() {
    let Some(expected) = expected("store_orders_ab_hypotheses") else { return };
    for (name, keep_contaminated) in [("raw", true), ("without_users_in_both_groups", false)] {
        let folder = tempdir().expect("a temporary folder");
        let file = prepare::shop(folder.path(), keep_contaminated);
        let block = &expected[name];
        let conversion = report(&file, "group", "A", "bought", &[]);
        assert_two_proportions(&conversion, "B", &block["buyer_conversion"]);
        assert_srm(&conversion, &expected["srm_visitors"]);
        assert_welch(
            &report(&file, "group", "A", "orders", &[]),
            "B",
            &block["orders_per_visitor"]["welch"],
        );
        assert_welch(
            &report(&file, "group", "A", "revenue", &[]),
            "B",
            &block["revenue_per_visitor"],
        );
    }
}

#[test]
fn telco_churn() {
    let Some(expected) = expected("telco_churn") else { return };
    let file = data("telco_churn/Telco-Customer-Churn.csv").expect("the folder exists");
    let charges = report(&file, "Churn", "No", "MonthlyCharges", &[]);
    assert_welch(&charges, "Yes", &expected["monthly_charges_welch_churn_yes_vs_no"]);
    let total = report(&file, "Churn", "No", "TotalCharges", &[]);
    assert_eq!(total["rows"]["missing_metric"], expected["blank_total_charges"]);
}

#[test]
fn xeducation_leads() {
    let Some(expected) = expected("xeducation_leads") else { return };
    let file = data("xeducation_leads/Leads.csv.gz").expect("the folder exists");
    let report = report(&file, "Converted", "0", "Total Time Spent on Website", &[]);
    assert_welch(&report, "1", &expected["time_on_site_welch"]);
}

#[test]
fn uci_online_shoppers() {
    let Some(expected) = expected("uci_online_shoppers") else { return };
    let file =
        data("uci_online_shoppers/online_shoppers_intention.csv").expect("the folder exists");
    let report = report(&file, "Weekend", "FALSE", "Revenue", &[]);
    assert_two_proportions(&report, "TRUE", &expected["weekend_vs_weekday"]);
}
