{{/* Of PodMonitors, ServiceMonitors and PrometheusRules. */}}

{{/*
Annotations of a Service by which a Prometheus without the operator finds its metrics, as JSON; none where a monitor does that. The argument is
the value of the component, such as prometheus.operator.
*/}}
{{- define "sakidori.scraped" -}}
{{- $annotations := dict }}
{{- if and .enabled (not (or .serviceMonitor.enabled .podMonitor.enabled)) }}
{{- $annotations = dict "prometheus.io/scrape" "true" "prometheus.io/port" (toString (int .port)) "prometheus.io/path" "/metrics" }}
{{- end }}
{{- toJson $annotations }}
{{- end }}

{{/* What an endpoint has besides its port, of a PodMonitor or a ServiceMonitor. */}}
{{- define "sakidori.endpoint" -}}
path: /metrics
# The label namespace is the ScaledObject's, not the operator's.
honorLabels: true
metricRelabelings:
  # KEDA's dashboards have it under the name that Prometheus gives it without honorLabels.
  - sourceLabels: [namespace]
    targetLabel: exported_namespace
  {{- with .metricRelabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .relabelings | default .relabellings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
