//! Reflection: the contracts as a running server tells them.

use northstar_domain::Role;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{Fixture, key};

#[tokio::test]
async fn a_viewer_lists_the_services_that_are_served() {
    let fixture = Fixture::start().await;
    let channel = Endpoint::new(fixture.host.url().to_string()).unwrap().connect_lazy();
    let mut reflection = ServerReflectionClient::new(channel);
    let list = || {
        Request::new(tokio_stream::once(ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        }))
    };
    let refused = reflection.server_reflection_info(list()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    let mut request = list();
    let secret = key(fixture.database.pool(), Role::Viewer).await;
    request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
    let mut replies = reflection.server_reflection_info(request).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = reply else { panic!("{reply:?}") };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"northstar.approvals.v1.AccessService".to_owned()), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("MetricsService")), "{names:?}");
}

#[tokio::test]
async fn clients_of_the_version_before_the_first_are_answered_too() {
    use tonic_reflection::pb::v1alpha;
    use v1alpha::server_reflection_client::ServerReflectionClient;
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;

    let fixture = Fixture::start().await;
    let channel = Endpoint::new(fixture.host.url().to_string()).unwrap().connect_lazy();
    let mut request = Request::new(tokio_stream::once(v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(
            "northstar.approvals.v1.AccessService".to_owned(),
        )),
    }));
    let secret = key(fixture.database.pool(), Role::Viewer).await;
    request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
    let mut replies =
        ServerReflectionClient::new(channel).server_reflection_info(request).await.unwrap();
    let reply = replies.get_mut().message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(reply, MessageResponse::FileDescriptorResponse(_)), "{reply:?}");
}
