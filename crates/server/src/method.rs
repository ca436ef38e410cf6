//! What the contracts say about each RPC.

use std::collections::HashMap;
use std::sync::LazyLock;

use northstar_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// An RPC of the contracts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Method {
    /// Full name of its service, for example `northstar.metrics.v1.MetricsService`.
    pub service: &'static str,
    /// Its name, for example `QueryMetric`.
    pub name: &'static str,
    /// Whether either side sends a stream.
    pub streams: bool,
}

/// Every RPC that a process may serve by path: Northstar's contracts, OTLP's
/// collector, health and reflection.
pub fn all() -> &'static HashMap<String, Method> {
    static ALL: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
        [
            FILE_DESCRIPTOR_SET,
            opentelemetry_proto::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ]
        .into_iter()
        .flat_map(methods)
        // OpenTelemetry's contracts hold more than its stable protocol.
        .filter(|method| !method.service.contains(".v1development."))
        .map(|method| (format!("/{}/{}", method.service, method.name), method))
        .collect()
    });
    &ALL
}

/// Whether the RPC at this path is known to stream.
pub(crate) fn streams(path: &str) -> bool {
    all().get(path).is_some_and(|method| method.streams)
}

/// Names live as long as the process, so that spans and metrics can borrow them.
fn methods(descriptors: &[u8]) -> Vec<Method> {
    let descriptors = FileDescriptorSet::decode(descriptors)
        .expect("the descriptors were encoded by the compiler that made this program");
    let mut found = Vec::new();
    for file in descriptors.file {
        let package = file.package().to_owned();
        for service in file.service {
            let full_name: &'static str = format!("{package}.{}", service.name()).leak();
            found.extend(service.method.into_iter().map(|method| Method {
                service: full_name,
                streams: method.client_streaming() || method.server_streaming(),
                name: method.name.unwrap_or_default().leak(),
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_say_which_calls_stream() {
        assert!(streams("/northstar.ingestion.v1.IngestionService/StreamEvents"));
        assert!(streams("/northstar.ingestion.v1.IngestionService/Subscribe"));
        assert!(streams("/grpc.health.v1.Health/Watch"));
        assert!(!streams("/northstar.metrics.v1.MetricsService/QueryMetric"));
        assert!(!streams("/nobody.knows/It"));
    }
}
