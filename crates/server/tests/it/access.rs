//! The table of roles against the contracts.

use std::collections::BTreeSet;

use northstar_domain::Role;
use northstar_server::access::{Access, TABLE, required};
use northstar_server::method;

#[test]
fn every_rpc_of_the_contracts_has_a_role_and_no_other_path_has() {
    let declared: BTreeSet<&str> = method::all()
        .keys()
        .map(String::as_str)
        .filter(|path| !path.starts_with("/grpc.health.v1.Health/"))
        .collect();
    let listed: BTreeSet<&str> = TABLE.iter().map(|(path, _)| *path).collect();
    assert_eq!(declared, listed);
    assert_eq!(TABLE.len(), listed.len(), "a path is listed twice");
}

#[test]
fn what_only_reads_needs_no_more_than_an_analyst() {
    let reads = [
        "Get",
        "List",
        "Query",
        "Analyze",
        "Measure",
        "Verify",
        "ResolveSubject",
        "Subscribe",
        "Check",
        "Find",
        "Explain",
        "EvaluateThreshold",
        "ReplayEvaluations",
        "DetectAnomalies",
        "AttributeChange",
        "Preview",
    ];
    // They show what is personal, or who asked to be forgotten.
    let personal = ["ListEventNotes", "GetErasure", "ListErasures"];
    let ours = TABLE.iter().filter(|(path, _)| path.starts_with("/northstar."));
    for (path, role) in ours.filter(|(path, _)| !path.contains("AccessService")) {
        let name = path.rsplit('/').next().unwrap();
        if personal.contains(&name) {
            assert!(matches!(role, Role::Operator | Role::Admin), "{path} needs {role}");
        } else if reads.iter().any(|read| name.starts_with(read)) {
            assert!(matches!(role, Role::Viewer | Role::Analyst), "{path} needs {role}");
        } else {
            assert_ne!(*role, Role::Viewer, "{path} changes something");
        }
    }
}

#[test]
fn what_is_not_listed_is_refused() {
    assert_eq!(required("/northstar.metrics.v1.MetricsService/DropEverything"), Access::Refused);
    assert_eq!(required("/"), Access::Refused);
    assert_eq!(required("/grpc.health.v1.Health/Check"), Access::Open);
}
