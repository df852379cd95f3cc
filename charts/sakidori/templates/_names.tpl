{{/* The names are KEDA's, so that network policies, alerts and scripts written for it find them. */}}
{{- define "sakidori.labels" -}}
app.kubernetes.io/name: keda-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: sakidori
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "sakidori.selector" -}}
app.kubernetes.io/name: keda-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The Service before the external metrics API: the API server checks the certificate for this name. */}}
{{- define "sakidori.metricsService" -}}
keda-operator-metrics-apiserver
{{- end }}

{{/* The Service before the admission webhooks. */}}
{{- define "sakidori.webhookService" -}}
keda-admission-webhooks
{{- end }}
