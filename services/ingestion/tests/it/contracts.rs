//! Contracts: applied, read, and kept by events.

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome::{Accepted, Duplicate, Quarantined, Rejected};
use tonic::Status;

use crate::suite::{Suite, blamed_fields, clients, event, ingest, integer, outcomes, reason, text};

fn contract(mode: pb::ContractMode) -> pb::Contract {
    pb::Contract {
        name: "Signed Up".to_owned(),
        schema_version: "1-0-0".to_owned(),
        json_schema: r#"{"type": "object", "required": ["plan"],
            "properties": {"plan": {"type": "string"}, "seats": {"type": "integer"}}}"#
            .to_owned(),
        mode: mode.into(),
        owner: "growth".to_owned(),
        description: "A person made an account".to_owned(),
        ..pb::Contract::default()
    }
}

async fn apply(clients: &Clients, contract: pb::Contract) -> Result<pb::Contract, Status> {
    let request = pb::ApplyContractRequest {
        contract: Some(contract),
        ..pb::ApplyContractRequest::default()
    };
    let response = clients.ingestion().apply_contract(request).await?;
    Ok(response.into_inner().contract.unwrap())
}

async fn get(clients: &Clients, name: &str) -> Result<pb::Contract, Status> {
    let request = pb::GetContractRequest { name: name.to_owned() };
    let response = clients.ingestion().get_contract(request).await?;
    Ok(response.into_inner().contract.unwrap())
}

fn without_plan(message_id: &str) -> pb::Event {
    pb::Event { properties: [("seats".to_owned(), integer(3))].into(), ..event(message_id) }
}

fn many_seats(message_id: &str) -> pb::Event {
    let properties = [("plan".to_owned(), text("pro")), ("seats".to_owned(), text("many"))].into();
    pb::Event { properties, ..event(message_id) }
}

#[tokio::test]
async fn the_mode_decides_what_becomes_of_a_violation() {
    let suite = Suite::start().await;
    let clients = suite.clients();

    apply(&clients, contract(pb::ContractMode::Observe)).await.unwrap();
    let results = suite.ingest("web", vec![without_plan("a"), event("b")]).await;
    assert_eq!(outcomes(&results), [(Accepted, ""), (Accepted, "")]);
    assert_eq!(get(&clients, "Signed Up").await.unwrap().observed_violations, 1);

    apply(&clients, contract(pb::ContractMode::Quarantine)).await.unwrap();
    let results = suite.ingest("web", vec![without_plan("c"), many_seats("d"), event("e")]).await;
    let violation = (Quarantined, "schema_violation");
    assert_eq!(outcomes(&results), [violation, violation, (Accepted, "")]);
    assert_eq!(results[0].field, "properties.plan");
    assert_eq!(results[1].field, "properties.seats");
    // It was accepted before the rule was made.
    assert_eq!(outcomes(&suite.ingest("web", vec![without_plan("a")]).await), [(Duplicate, "")]);

    apply(&clients, contract(pb::ContractMode::Reject)).await.unwrap();
    let unknown = pb::Event { name: "Never Heard Of".to_owned(), ..without_plan("g") };
    let results = suite.ingest("web", vec![without_plan("f"), unknown]).await;
    assert_eq!(outcomes(&results), [(Rejected, "schema_violation"), (Accepted, "")]);
    assert_eq!(suite.counts("web").await, [8, 4, 1, 2, 1]);
}

#[tokio::test]
async fn a_contract_applied_at_another_process_holds_soon() {
    let suite = Suite::start().await;
    let other = suite.start_another().await;
    // Both have seen the project without a contract.
    for (number, host) in [&suite.host, &other].into_iter().enumerate() {
        ingest(&clients(host), "web", vec![without_plan(&format!("first {number}"))])
            .await
            .unwrap();
    }
    apply(&clients(&other), contract(pb::ContractMode::Reject)).await.unwrap();
    for attempt in 0_u32.. {
        let results = suite.ingest("web", vec![without_plan(&attempt.to_string())]).await;
        if results[0].outcome() == Rejected {
            break;
        }
        assert!(attempt < 600, "the contract is not noticed");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    other.stop().await.unwrap();
}

#[tokio::test]
async fn an_etag_guards_against_a_change_in_between() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let first = apply(&clients, contract(pb::ContractMode::Observe)).await.unwrap();
    let second = apply(
        &clients,
        pb::Contract { etag: first.etag.clone(), ..contract(pb::ContractMode::Reject) },
    )
    .await
    .unwrap();
    assert_ne!(first.etag, second.etag);
    let stale = pb::Contract { etag: first.etag, ..contract(pb::ContractMode::Quarantine) };
    let status = apply(&clients, stale).await.unwrap_err();
    assert_eq!(reason(&status), "ETAG_MISMATCH");
    assert_eq!(get(&clients, "Signed Up").await.unwrap(), second);
}

#[tokio::test]
async fn a_contract_is_applied_once_and_written_down() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let request = |mode| pb::ApplyContractRequest {
        contract: Some(contract(mode)),
        validate_only: false,
        request_id: "0198c7e0-0000-7000-8000-000000000001".to_owned(),
    };
    let mut ingestion = clients.ingestion();
    let first = ingestion.apply_contract(request(pb::ContractMode::Observe)).await.unwrap();
    suite.clock.advance(chrono::TimeDelta::hours(1));
    let again = ingestion.apply_contract(request(pb::ContractMode::Observe)).await.unwrap();
    assert_eq!(first.into_inner(), again.into_inner());
    let status = ingestion.apply_contract(request(pb::ContractMode::Reject)).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
    // The same contract with another request id changes nothing.
    apply(&clients, contract(pb::ContractMode::Observe)).await.unwrap();

    let mut connection = suite.superuser().acquire().await.unwrap();
    let size = northstar_store::page::PageSize::DEFAULT;
    let project = northstar_domain::ProjectId(1);
    let entries = northstar_store::audit::list(&mut connection, project, 0, size).await.unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["contract.apply"]);
    assert_eq!(entries[0].resource, "contracts/Signed Up");
}

#[tokio::test]
async fn validating_a_contract_writes_nothing() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let request = pb::ApplyContractRequest {
        contract: Some(contract(pb::ContractMode::Reject)),
        validate_only: true,
        request_id: String::new(),
    };
    clients.ingestion().apply_contract(request).await.unwrap();
    assert_eq!(reason(&get(&clients, "Signed Up").await.unwrap_err()), "NOT_FOUND");

    let broken = pb::Contract {
        json_schema: "{\"type\": 3}".to_owned(),
        ..contract(pb::ContractMode::Reject)
    };
    let status = apply(&clients, broken).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    assert_eq!(blamed_fields(&status), ["contract.json_schema"]);
}

#[tokio::test]
async fn contracts_are_listed_by_name_page_by_page() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    for name in ["c", "a", "b"] {
        let named = pb::Contract { name: name.to_owned(), ..contract(pb::ContractMode::Observe) };
        apply(&clients, named).await.unwrap();
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListContractsRequest { page_size: 2, page_token };
        let page = clients.ingestion().list_contracts(request).await.unwrap().into_inner();
        names.extend(page.contracts.into_iter().map(|contract| contract.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
    let request = pb::ListContractsRequest { page_size: 2, page_token: "x".to_owned() };
    let status = clients.ingestion().list_contracts(request).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["page_token"]);
}
