//! Asks a running suite for a metric: the example of the README, which a test holds to be the same.
#![expect(clippy::print_stdout, reason = "an example shows its answer")]

use northstar_client::Clients;
use northstar_client::proto::metrics::v1::{Grain, QueryMetricRequest};
use prost_types::Timestamp;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [address, key] = ["NORTHSTAR_ADDRESS", "NORTHSTAR_API_KEY"].map(std::env::var);
    let northstar = Clients::connect(&address?, &key?)?;
    let question = QueryMetricRequest {
        metric: "checkout".to_owned(),
        start_time: Some("2024-01-01T00:00:00Z".parse::<Timestamp>()?),
        end_time: Some("2024-07-01T00:00:00Z".parse::<Timestamp>()?),
        grain: Grain::Month.into(),
        ..Default::default()
    };
    let answer = northstar.metrics().query_metric(question).await?.into_inner();
    for row in answer.rows {
        println!("{:?} {:?}", row.bucket_time, row.value);
    }
    Ok(())
}
