//! Exports spans to an OpenTelemetry collector, over OTLP (HTTP, protobuf), if the standard environment variables name
//! one: `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, unless `OTEL_SDK_DISABLED` is `true` or
//! `OTEL_TRACES_EXPORTER` is `none`
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>). Without a collector, no spans
//! are made.

use std::time::Duration;

use environment::{
    config::Variable,
    variables::{
        AWS_LAMBDA_FUNCTION_NAME, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_SDK_DISABLED,
        OTEL_SERVICE_NAME, OTEL_TRACES_EXPORTER,
    },
};
use lambda_runtime::Context;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::time::timeout;
use tracing::{Instrument, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::{OWN_CRATES, VERSION};

/// The most time that exporting spans adds to an invocation. It fits into the time reserved for the answer.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(250);

/// The name of this instrumentation.
const INSTRUMENTATION: &str = "hubspot-sync";

/// The exporter of spans, if there is one.
#[derive(Debug, Default)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Builds the exporter that the environment configures. If that fails, prints the error and disables tracing.
    pub(crate) fn from_env() -> Self {
        let is = |variable: &Variable, value: &str| {
            variable.optional().is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        let endpoints = [&OTEL_EXPORTER_OTLP_ENDPOINT, &OTEL_EXPORTER_OTLP_TRACES_ENDPOINT];
        let named = endpoints.into_iter().any(|variable| variable.optional().is_some());
        if !named || is(&OTEL_SDK_DISABLED, "true") || is(&OTEL_TRACES_EXPORTER, "none") {
            return Self::default();
        }
        let exporter = match SpanExporter::builder().with_http().build() {
            Ok(exporter) => exporter,
            Err(error) => {
                eprintln!("spans cannot be exported: {error}");
                return Self::default();
            }
        };
        let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", VERSION));
        if OTEL_SERVICE_NAME.optional().is_none() {
            resource = resource.with_service_name(AWS_LAMBDA_FUNCTION_NAME.optional().unwrap_or_default());
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        Self(Some(provider.build()))
    }

    /// Returns the layer that exports the service's own `tracing` spans. Returns `None` if tracing is disabled.
    pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> Option<impl Layer<S> + use<S>> {
        let tracer = self.0.as_ref()?.tracer(INSTRUMENTATION);
        let ours = OWN_CRATES.map(|name| (name, LevelFilter::DEBUG));
        Some(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(Targets::new().with_targets(ours)))
    }

    /// Runs an invocation's work in a span of its own, and exports its spans before Lambda freezes the process.
    pub async fn invocation<F: Future>(&self, context: &Context, work: F) -> F::Output {
        let span = tracing::debug_span!(
            "invocation",
            faas.invocation_id = context.request_id,
            aws.xray.trace_id = context.xray_trace_id
        );
        let done = work.instrument(span).await;
        if let Some(provider) = self.0.clone() {
            let flushed = tokio::task::spawn_blocking(move || provider.force_flush());
            match timeout(FLUSH_TIMEOUT, flushed).await {
                Ok(Ok(Ok(()))) => {}
                _ => tracing::debug!("spans were not handed on in time"),
            }
        }
        done
    }
}
