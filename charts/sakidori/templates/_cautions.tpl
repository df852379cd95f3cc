{{/* What NOTES.txt says of values that somebody may regret: a line for each. */}}
{{- define "sakidori.cautions" -}}
{{- $values := .Values.AsMap }}
{{- $operator := .Values.operator }}
{{- /* Without a number a Deployment has one. */}}
{{- $replicas := ternary 1 (int $operator.replicaCount) (kindIs "invalid" $operator.replicaCount) }}
{{- if lt $replicas 2 }}
- operator.replicaCount is {{ $replicas }}: while its pod moves to another node, nothing is scaled. With 2, the other one takes over.
{{- end }}
{{- $least := dig "minAvailable" 0 (include "sakidori.filled" .Values.podDisruptionBudget.operator | fromJson) }}
{{- if and (regexMatch "^[0-9]+$" (toString $least)) (ge (int $least) $replicas) (gt (int $least) 0) }}
- podDisruptionBudget.operator.minAvailable is {{ $least }} of {{ $replicas }} replicas: no node on which one runs can be drained.
{{- end }}
{{- if .Values.webhooks.enabled }}
{{- if eq .Values.webhooks.failurePolicy "Ignore" }}
- webhooks.failurePolicy is Ignore: while no replica answers, objects that can't work are stored. Fail refuses them then.
{{- end }}
{{- if not .Values.networkPolicy.enabled }}
- Whoever reaches port {{ include "sakidori.webhookPort" . }} of the pods is answered by the webhooks (docs/security.md). networkPolicy.enabled closes it to all but the API server.
{{- else if and (eq .Values.networkPolicy.flavor "kubernetes") (not .Values.networkPolicy.kubernetes.apiServer) }}
- networkPolicy.kubernetes.apiServer is empty, so the NetworkPolicy leaves ports {{ .Values.service.portHttpsTarget }} and {{ include "sakidori.webhookPort" . }} open. Name the API server's addresses there.
{{- end }}
{{- end }}
{{- $metrics := .Values.prometheus.operator }}
{{- if not $metrics.enabled }}
- prometheus.operator.enabled is false: nobody is told when something can't be scaled, and monitors and rules of prometheus.operator are left out.
{{- else if not $metrics.prometheusRules.enabled }}
- prometheus.operator.prometheusRules.enabled is false: no alert says that a source can't be read, or that a sale is not prepared (docs/alerts.md).
{{- end }}
{{- if not .Values.crds.keep }}
- crds.keep is false: `helm uninstall` deletes every ScaledObject, TriggerAuthentication and SaleCalendar of the cluster.
{{- end }}
{{- if not .Values.crds.install }}
- crds.install is false: install the definitions, and upgrade them with each release: sakidori crds | kubectl apply --server-side -f -
{{- end }}
{{- if not .Values.rbac.create }}
- rbac.create is false: without the rights of docs/security.md the ServiceAccount {{ .Values.serviceAccount.operator.name }} can do nothing.
{{- end }}
{{- if .Values.rbac.wide }}
- rbac.wide is true: the operator may scale whatever has a scale subresource.
{{- end }}
{{- if .Values.permissions.operator.restrict.allowAllServiceAccountTokenCreation }}
- permissions.operator.restrict.allowAllServiceAccountTokenCreation is true: who may write a TriggerAuthentication can act as any ServiceAccount.
{{- end }}
{{- if dig "limits" "cpu" "" (include "sakidori.filled" .Values.resources.operator | fromJson) }}
- resources.operator.limits.cpu is set: when it is reached, polls are late, and so are floors.
{{- end }}
{{- if has .Values.image.keda.tag (list "latest" "main") }}
- image.keda.tag is {{ .Values.image.keda.tag }}: replicas of one release may run different images.
{{- end }}
{{- range $component, $profiling := (dig "profiling" dict $values) }}
{{- if $profiling.enabled }}
- profiling.{{ $component }}.enabled does nothing: there is no profiler in the processes.
{{- end }}
{{- end }}
{{- range $of, $flags := .Values.extraArgs }}
{{- range $flag, $_ := $flags }}
{{- if has $flag (include "sakidori.ignoredFlags" nil | fromJsonArray) }}
- extraArgs.{{ $of }}.{{ $flag }} does nothing: it is a flag of KEDA's that has no meaning here.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
