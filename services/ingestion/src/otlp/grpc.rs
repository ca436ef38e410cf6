//! The collector services of OTLP over gRPC.

use northstar_server::{Service, caller};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use super::logs::Logs;
use super::metrics::Metrics;
use super::traces::Traces;
use super::{Signal, export};
use crate::service::Ingestion;

/// The three services. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Otlp {
    ingestion: Ingestion,
}

impl Otlp {
    pub(crate) fn new(ingestion: Ingestion) -> Self {
        Self { ingestion }
    }

    /// Adds the gRPC services. Servers of OTLP take gzip; the size limit is that
    /// of the message as it is unpacked.
    pub(crate) fn serve_grpc(&self, service: Service, max_message_bytes: usize) -> Service {
        macro_rules! server {
            ($server:ident) => {
                $server::new(self.clone())
                    .accept_compressed(CompressionEncoding::Gzip)
                    .max_decoding_message_size(max_message_bytes)
            };
        }
        service
            .grpc(server!(TraceServiceServer))
            .grpc(server!(MetricsServiceServer))
            .grpc(server!(LogsServiceServer))
    }

    async fn answer<S: Signal>(
        &self,
        request: Request<S::Request>,
    ) -> Result<Response<S::Response>, Status> {
        let caller = caller(&request)?;
        let response = export::<S>(&self.ingestion, &caller, request.into_inner()).await?;
        Ok(Response::new(response))
    }
}

#[tonic::async_trait]
impl TraceService for Otlp {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.answer::<Traces>(request).await
    }
}

#[tonic::async_trait]
impl MetricsService for Otlp {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.answer::<Metrics>(request).await
    }
}

#[tonic::async_trait]
impl LogsService for Otlp {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.answer::<Logs>(request).await
    }
}
