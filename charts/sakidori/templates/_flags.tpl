{{/* The flags of the two processes, from the values and from extraArgs. */}}

{{- define "sakidori.operatorFlags" -}}
{{- $rotates := include "sakidori.rotates" . }}
metrics-bind-address: {{ include "sakidori.metricsAddress" .Values.prometheus.operator }}
health-probe-bind-address: ":8081"
external-metrics-bind-address: ":{{ .Values.service.portHttpsTarget }}"
metrics-service-bind-address: ":9666"
{{- if .Values.webhooks.enabled }}
webhook-bind-address: ":{{ include "sakidori.webhookPort" . }}"
{{- else }}
webhook-bind-address: "0"
{{- /* There is no right to their configuration then, and to wait for it would hold up new authorities. */}}
enable-webhook-patching: "false"
{{- end }}
{{- /* The same of the APIService. */}}
{{- if not (and .Values.metricsServer.enabled (dig "operator" "apiServicePatching" "enabled" true .Values.certificates)) }}
enable-apiservice-patching: "false"
{{- end }}
enable-cert-rotation: {{ $rotates | quote }}
cert-secret-name: {{ .Values.certificates.secretName | quote }}
cert-dir: {{ .Values.certificates.mountPath | quote }}
operator-service-name: {{ include "sakidori.operator" . }}
metrics-server-service-name: {{ include "sakidori.metricsServer" . }}
webhooks-service-name: {{ include "sakidori.webhooks" . }}
k8s-cluster-domain: {{ .Values.clusterDomain | quote }}
leader-elect: "true"
leader-election-id: {{ include "sakidori.lease" . | quote }}
log-format: {{ include "sakidori.logFormat" .Values.logging.operator.format }}
log-level: {{ include "sakidori.logLevel" .Values.logging.operator.level | quote }}
{{- end }}

{{- define "sakidori.adapterFlags" -}}
secure-port: "{{ .Values.service.portHttpsTarget }}"
metrics-bind-address: {{ include "sakidori.metricsAddress" .Values.prometheus.metricServer }}
health-probe-bind-address: ":8081"
cert-dir: {{ .Values.certificates.mountPath | quote }}
leader-election-id: {{ include "sakidori.lease" . | quote }}
log-format: {{ include "sakidori.logFormat" .Values.logging.metricServer.zapEncoder }}
log-level: {{ include "sakidori.logLevel" .Values.logging.metricServer.zapLevel | quote }}
{{- end }}

{{/* Where metrics are served, of a value such as prometheus.operator: to the pod itself only, where they are not enabled. */}}
{{- define "sakidori.metricsAddress" -}}
{{- printf "%s:%d" (ternary "127.0.0.1" "" (not .enabled)) (int .port) | quote }}
{{- end }}

{{/* A list of arguments: `own` flags, and in their place or beside them those of `extra`, but for KEDA's that mean nothing here. */}}
{{- define "sakidori.flags" -}}
{{- $flags := merge dict (.extra | default dict) .own }}
{{- range $flag, $value := $flags }}
{{- if not (has $flag (include "sakidori.ignoredFlags" nil | fromJsonArray)) }}
{{- /* A large number is no 1e+06. */}}
- {{ printf "--%s=%s" $flag (ternary (toString $value) (toJson $value) (kindIs "string" $value)) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Flags of KEDA's that nothing depends on: how fast its client may ask and how it is answered, how times look in its log, connections that are kept. As
JSON.
*/}}
{{- define "sakidori.ignoredFlags" -}}
{{- list "kube-api-qps" "kube-api-burst" "disable-compression" "http-max-idle-conns" "http-max-idle-conns-per-host" "http-idle-conn-timeout"
  "zap-stacktrace-level" "zap-time-encoding" "v" "logtostderr" "stderrthreshold" "msg"
  "profiling-bind-address" "k8s-cluster-name" | toJson }}
{{- end }}

{{/* --log-format of what KEDA calls an encoder. */}}
{{- define "sakidori.logFormat" -}}
{{- ternary "text" . (eq . "console") }}
{{- end }}

{{/* --log-level of a level as KEDA has it: a word, or a number, of which 1 is debug. */}}
{{- define "sakidori.logLevel" -}}
{{- $level := toString . }}
{{- if regexMatch "^[0-9]+$" $level }}
{{- $number := int $level }}
{{- ternary "info" (ternary "debug" "trace" (eq $number 1)) (eq $number 0) }}
{{- else }}
{{- $level }}
{{- end }}
{{- end }}
