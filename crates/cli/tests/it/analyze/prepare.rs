//! Joins and cleaning that the published results need before the comparison.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use super::run::data;

/// The records of a file of the data folder, each a map from header to field.
pub struct Records {
    headers: csv::StringRecord,
    records: Vec<csv::StringRecord>,
}

impl Records {
    /// Reads `relative` with a delimiter, through gzip if its name says so.
    pub fn read(relative: &str, delimiter: u8) -> Self {
        let path = data(relative).expect("the caller checked for the folder");
        let file = BufReader::new(
            File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        );
        let bytes: Box<dyn Read> = if relative.ends_with(".gz") {
            Box::new(flate2::read::GzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(bytes);
        let headers = reader.headers().expect("a header").clone();
        let records = reader.records().map(|record| record.expect("a sound record")).collect();
        Self { headers, records }
    }

    /// The given columns of each record.
    pub fn columns<const N: usize>(&self, names: [&str; N]) -> impl Iterator<Item = [&str; N]> {
        let places = names.map(|name| {
            self.headers
                .iter()
                .position(|header| header == name)
                .unwrap_or_else(|| panic!("no column {name}"))
        });
        self.records.iter().map(move |record| places.map(|place| &record[place]))
    }
}

/// Writes a table for the command to read.
pub fn write<const N: usize>(
    folder: &Path,
    name: &str,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> PathBuf {
    let path = folder.join(name);
    let mut writer = csv::Writer::from_path(&path).expect("a writable folder");
    writer.write_record(header).expect("a writable folder");
    for row in rows {
        writer.write_record(&row).expect("a writable folder");
    }
    writer.flush().expect("a writable folder");
    path
}

/// Users of the landing-page test: rows where group and page agree, the first row of each user, and the country.
pub fn landing_page(folder: &Path) -> PathBuf {
    let countries = Records::read("udacity_ab_landing_page/countries.csv.gz", b',');
    let country: HashMap<&str, &str> =
        countries.columns(["user_id", "country"]).map(|[user, country]| (user, country)).collect();
    let visits = Records::read("udacity_ab_landing_page/ab_data.csv.gz", b',');
    let mut seen = HashSet::new();
    let rows = visits
        .columns(["user_id", "group", "landing_page", "converted"])
        .filter(|[_, group, page, _]| (*group == "treatment") == (*page == "new_page"))
        .filter(|[user, ..]| seen.insert(*user))
        .map(|[user, group, _, converted]| {
            [
                group.to_owned(),
                converted.to_owned(),
                country.get(user).copied().unwrap_or_default().to_owned(),
            ]
        })
        .collect::<Vec<_>>();
    write(folder, "landing_page.csv", ["group", "converted", "country"], rows)
}

/// Visitors of the homepage test and whether they clicked.
pub fn homepage(folder: &Path) -> PathBuf {
    let actions = Records::read("udacity_homepage_actions/homepage_actions.csv", b',');
    let mut clicked: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for [id, group, action] in actions.columns(["id", "group", "action"]) {
        *clicked.entry((group, id)).or_default() |= action == "click";
    }
    let rows =
        clicked.into_iter().map(|((group, _), clicked)| [group.to_owned(), clicked.to_string()]);
    write(folder, "homepage.csv", ["group", "clicked"], rows)
}

/// Users of the dating app with arm, whether they paid, and what they paid (empty for those who did not).
/// Payers are those with revenue in the users' own file, as its PROVENANCE.md says.
pub fn dating_app(folder: &Path) -> PathBuf {
    let mut rows = Vec::new();
    for arm in ["control_1", "control_2", "test"] {
        let users = Records::read(&format!("dating_app_price_aab/users_{arm}.csv"), b';');
        for [revenue] in users.columns(["total_revenue"]) {
            let paid = revenue.parse::<f64>().is_ok_and(|amount| amount > 0.0);
            let revenue_of_payers = if paid { revenue } else { "" };
            rows.push(
                [arm, if paid { "1" } else { "0" }, revenue, revenue_of_payers].map(str::to_owned),
            );
        }
    }
    write(folder, "dating_app.csv", ["arm", "paid", "revenue", "revenue_of_payers"], rows)
}

/// Visitors of the shop: one row each, with orders and revenue; without the buyers seen in both groups if asked.
pub fn shop(folder: &Path, keep_contaminated: bool) -> PathBuf {
    let orders = Records::read("store_orders_ab_hypotheses/orders.csv", b',');
    let mut groups: HashMap<&str, HashSet<&str>> = HashMap::new();
    for [visitor, group] in orders.columns(["visitorId", "group"]) {
        groups.entry(visitor).or_default().insert(group);
    }
    let mut buyers: BTreeMap<(&str, &str), (u32, f64)> = BTreeMap::new();
    for [visitor, group, revenue] in orders.columns(["visitorId", "group", "revenue"]) {
        if keep_contaminated || groups[visitor].len() == 1 {
            let buyer = buyers.entry((group, visitor)).or_default();
            buyer.0 += 1;
            buyer.1 += revenue.parse::<f64>().expect("an amount");
        }
    }
    let mut visitors: BTreeMap<&str, usize> = BTreeMap::new();
    let days = Records::read("store_orders_ab_hypotheses/visitors.csv", b',');
    for [group, count] in days.columns(["group", "visitors"]) {
        *visitors.entry(group).or_default() += count.parse::<usize>().expect("a count");
    }
    let mut rows = Vec::new();
    for (group, count) in visitors {
        let bought: Vec<_> = buyers
            .iter()
            .filter(|((buyer_group, _), _)| *buyer_group == group)
            .map(|(_, buyer)| *buyer)
            .collect();
        let nothing = vec![(0, 0.0); count - bought.len()];
        for (orders, revenue) in bought.into_iter().chain(nothing) {
            rows.push([
                group.to_owned(),
                u8::from(orders > 0).to_string(),
                orders.to_string(),
                revenue.to_string(),
            ]);
        }
    }
    write(folder, "shop.csv", ["group", "bought", "orders", "revenue"], rows)
}

/// Days of both campaigns in one table, under short names.
pub fn campaign_days(folder: &Path) -> PathBuf {
    let mut rows = Vec::new();
    for (arm, file) in [("control", "control_group"), ("test", "test_group")] {
        let days = Records::read(&format!("marketing_campaign_daily_ab/{file}.csv"), b',');
        let names = [
            "Spend [USD]",
            "# of Impressions",
            "# of Website Clicks",
            "# of Add to Cart",
            "# of Purchase",
        ];
        for values in days.columns(names) {
            let [spend, impressions, clicks, carts, purchases] = values.map(str::to_owned);
            // The control lacks one day's figures: the spend of that day is not comparable either.
            let spend = if clicks.is_empty() { String::new() } else { spend };
            rows.push([arm.to_owned(), spend, impressions, clicks, carts, purchases]);
        }
    }
    write(
        folder,
        "days.csv",
        ["campaign", "spend", "impressions", "clicks", "carts", "purchases"],
        rows,
    )
}

/// Stores of the promotion test with their mean weekly sales: the store was randomised, not the week.
pub fn stores(folder: &Path) -> PathBuf {
    let weeks = Records::read("fast_food_promotions/WA_Marketing-Campaign.csv", b',');
    let mut sales: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for [store, promotion, amount] in weeks.columns(["LocationID", "Promotion", "SalesInThousands"])
    {
        sales.entry((promotion, store)).or_default().push(amount.parse().expect("an amount"));
    }
    let rows = sales.into_iter().map(|((promotion, _), weeks)| {
        [promotion.to_owned(), (weeks.iter().sum::<f64>() / weeks.len() as f64).to_string()]
    });
    write(folder, "stores.csv", ["promotion", "sales"], rows)
}
