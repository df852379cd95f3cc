//! What KEDA's own dashboard asks for, and what its documentation promises.

/// A query of config/grafana/keda-dashboard.json, and the panels that it serves.
pub struct Query {
    pub panel: &'static str,
    pub expression: &'static str,
}

/// With the dashboard's variables. Its operator is scraped as a ServiceMonitor does by default: the pod's namespace wins, and that of a series
/// becomes `exported_namespace`.
pub const QUERIES: &[Query] = &[
    Query {
        panel: "Scaler Total Errors",
        expression: "sum by(job) (rate(keda_scaler_detail_errors_total{}[5m]))",
    },
    Query {
        panel: "Scaler Errors",
        expression: "sum by(scaler) (rate(keda_scaler_detail_errors_total{exported_namespace=~\"$namespace\", scaledObject=~\"$scaledObject\", scaler=~\"$scaler\"}[5m]))",
    },
    Query {
        panel: "Scaled Object Errors",
        expression: "sum by(scaledObject) (rate(keda_scaled_object_errors_total{exported_namespace=~\"$namespace\", scaledObject=~\"$scaledObject\"}[5m]))",
    },
    Query {
        panel: "Scaler Metric Value",
        expression: "sum by(metric) (keda_scaler_metrics_value{exported_namespace=~\"$namespace\", metric=~\"$metric\", scaledObject=~\"$scaledObject\"})",
    },
    Query {
        panel: "Current/max replicas, also over time",
        expression: "kube_horizontalpodautoscaler_status_current_replicas{namespace=\"$namespace\",horizontalpodautoscaler=~\"keda-hpa-$scaledObject\"}",
    },
    Query {
        panel: "Current/max replicas, also over time",
        expression: "kube_horizontalpodautoscaler_spec_max_replicas{namespace=\"$namespace\",horizontalpodautoscaler=~\"keda-hpa-$scaledObject\"}",
    },
    Query {
        panel: "Changes in replicas",
        expression: "delta(kube_horizontalpodautoscaler_status_current_replicas{namespace=\"$namespace\",horizontalpodautoscaler=~\"keda-hpa-$scaledObject\"}[1m])",
    },
];

/// Its variables, and whether several values may be chosen.
pub const VARIABLES: &[(&str, &str, bool)] = &[
    (
        "namespace",
        "label_values(keda_scaler_active,exported_namespace)",
        false,
    ),
    (
        "scaledObject",
        "label_values(keda_scaler_active{exported_namespace=\"$namespace\"},scaledObject)",
        true,
    ),
    (
        "scaler",
        "label_values(keda_scaler_active{exported_namespace=\"$namespace\"},scaler)",
        false,
    ),
    (
        "metric",
        "label_values(keda_scaler_active{exported_namespace=\"$namespace\"},metric)",
        false,
    ),
];

/// What KEDA's page on Prometheus lists, as far as there is what it is about: all but ScaledJobs and CloudEventSources. With the labels by
/// which users group.
pub const SELECTORS: &[&str] = &[
    "keda_build_info{version!=\"\",goos!=\"\",goarch!=\"\"}",
    "keda_scaler_active{type=\"scaledobject\",triggerIndex!=\"\"}",
    "keda_scaled_object_paused == 1",
    "keda_scaler_metrics_value{metric!=\"\"}",
    "keda_scaler_metrics_latency_seconds{scaler!=\"\"}",
    "keda_scaler_detail_errors_total > 0",
    "keda_scaler_empty_upstream_responses_total{triggerName!=\"\",metricName!=\"\",resourceType=\"scaledobject\",ignoreNullValues=\"true\"} > 0",
    "keda_scaled_object_errors_total > 0",
    "keda_resource_registered_total{type=\"scaled_object\"}",
    "keda_resource_registered_total{type=\"trigger_authentication\"}",
    "keda_resource_registered_total{type=\"cluster_trigger_authentication\",exported_namespace=\"default\"}",
    "keda_trigger_registered_total{type=\"metrics-api\"}",
    "keda_internal_scale_loop_latency_seconds{type=\"scaledobject\",resource!=\"\"}",
    "keda_scaler_http_requests_total{scaler=\"metrics-api\",status_code=\"200\",metric_name!=\"\",scaled_resource!=\"\"} > 0",
    "keda_scaler_http_requests_total{status_code=\"404\"} > 0",
    "histogram_quantile(0.9, sum by (le, scaler) (keda_scaler_http_request_duration_seconds_bucket))",
    "keda_internal_metricsservice_grpc_server_started_total",
    "keda_internal_metricsservice_grpc_server_msg_received_total",
    "keda_internal_metricsservice_grpc_server_msg_sent_total > 0",
    "keda_internal_metricsservice_grpc_client_started_total",
    "keda_internal_metricsservice_grpc_client_msg_received_total > 0",
    "keda_internal_metricsservice_grpc_client_msg_sent_total",
    "keda_webhook_scaled_object_validations_total{action!=\"\"}",
    "keda_webhook_scaled_object_validation_errors_total{reason!=\"\"}",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
];
