{{/*
What the operator may do, in pieces: for all namespaces they are a ClusterRole, with `watchNamespace` a Role in each of these. No piece
has a wildcard, but for `rbac.wide`. docs/security.md says of each rule what it is for, and what doesn't work without it.
*/}}

{{/* What belongs to no namespace. */}}
{{- define "sakidori.clusterRules" -}}
- apiGroups: [keda.sh]
  # patch: the finalizer that KEDA left on those that came from it.
  resources: [clustertriggerauthentications]
  verbs: [get, list, watch, patch]
- apiGroups: [keda.sh]
  # Who uses an authentication stands in its status.
  resources: [clustertriggerauthentications/status]
  verbs: [patch]
- apiGroups: [sakidori.dev]
  resources: [clustersalecalendars]
  verbs: [get, list, watch]
- apiGroups: [sakidori.dev]
  resources: [clustersalecalendars/status]
  verbs: [patch]
{{- if .Values.rbac.inPlaceResize }}
# In-place resize: whether a node has become large enough for what it said it never could hold.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
{{- end }}
{{- if .Values.webhooks.enabled }}
# Its own ValidatingWebhookConfiguration, for the authorities of its certificate.
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingwebhookconfigurations]
  resourceNames: [keda-admission]
  verbs: [get, list, watch, patch]
{{- end }}
{{- if .Values.metricsServer.enabled }}
# Its own APIService, for the same, and so that the aggregation layer looks at once after a restart.
- apiGroups: [apiregistration.k8s.io]
  resources: [apiservices]
  resourceNames: [v1beta1.external.metrics.k8s.io]
  verbs: [get, list, watch, patch]
{{- end }}
{{- end }}

{{/* Who reads external metrics, and whether they may: what Kubernetes' own role system:auth-delegator has. */}}
{{- define "sakidori.delegationRules" -}}
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}

{{/* What is scaled, and by what. */}}
{{- define "sakidori.namespaceRules" -}}
- apiGroups: [keda.sh]
  # patch: the finalizer of ScaledObjects with restoreToOriginalReplicaCount, and those that KEDA left.
  resources: [scaledobjects, triggerauthentications]
  verbs: [get, list, watch, patch]
- apiGroups: [keda.sh]
  resources: [scaledobjects/status, triggerauthentications/status]
  verbs: [patch]
- apiGroups: [keda.sh]
  resources: [scaledobjects/finalizers]
  # An HPA whose owner reference blocks the owner's deletion may be made only with this right.
  verbs: [update]
- apiGroups: [sakidori.dev]
  resources: [salecalendars]
  verbs: [get, list, watch]
- apiGroups: [sakidori.dev]
  resources: [salecalendars/status]
  verbs: [patch]
{{ include "sakidori.eventRule" . }}
- apiGroups: [""]
  resources: [events]
  # What keeps a StatefulSet's pods from coming up, while a floor waits for them.
  verbs: [list]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, update, delete]
{{- if .Values.rbac.wide }}
- apiGroups: ["*"]
  resources: ["*/scale"]
  verbs: [get, update]
{{- else }}
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale, replicasets/scale]
  verbs: [get, update]
{{- end }}
{{ include "sakidori.scaledRefKindRules" . }}
# Room for a sale's floor before its pods are there, where a trigger says nodes: capacity-buffer.
- apiGroups: [autoscaling.x-k8s.io]
  resources: [capacitybuffers]
  verbs: [get, create, patch, delete]
# The environment of the target's container, and what admission and a floor look at in it.
- apiGroups: [apps]
  resources: [deployments, statefulsets, replicasets]
  verbs: [get, list, watch]
# The trigger types kubernetes-workload, and metrics-api with aggregateFromKubeServiceEndpoints; and the pods of a floor.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
# Admission: the requests that a LimitRange gives to containers, and whether a ResourceQuota has room for a floor; and whether there is room again for a
# pod that they didn't let be resized.
- apiGroups: [""]
  resources: [limitranges, resourcequotas]
  verbs: [list]
{{- if .Values.rbac.inPlaceResize }}
{{ include "sakidori.resizeRules" . }}
{{- end }}
{{ include "sakidori.sourceRules" . }}
{{- with include "sakidori.watchedSecretRule" . }}
{{ . }}
{{- end }}
{{- with include "sakidori.tokenRule" . }}
{{ . }}
{{- end }}
{{- end }}

{{/* advanced.sakidori.inPlaceResize. Nothing of it is used while no ScaledObject has that. */}}
{{- define "sakidori.resizeRules" -}}
- apiGroups: [""]
  # patch: the annotation sakidori.dev/resize, by which a pod's own resources are known after a restart.
  resources: [pods]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [pods/resize]
  verbs: [patch]
- apiGroups: [""]
  # onInfeasible: Evict. Disruption budgets are kept.
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [metrics.k8s.io]
  # What a pod uses of its memory, before a limit of it is lowered.
  resources: [pods]
  verbs: [get]
{{- end }}

{{/* Tokens of all ServiceAccounts, where that is wanted. */}}
{{- define "sakidori.tokenRule" -}}
{{- if .Values.permissions.operator.restrict.allowAllServiceAccountTokenCreation -}}
- apiGroups: [""]
  # boundServiceAccountToken, and hashiCorpVault with serviceAccountName, for any account.
  resources: [serviceaccounts/token]
  verbs: [create]
{{- end }}
{{- end }}

{{- define "sakidori.eventRule" -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/*
The kinds of `rbac.scaledRefKinds`. With a `*`, which is what KEDA's chart has by default, they can be scaled, and that is all: to read every kind
would be to read every Secret.
*/}}
{{- define "sakidori.scaledRefKindRules" -}}
{{- $at := "rbac.scaledRefKinds" }}
{{- $such := "{apiGroup: argoproj.io, kind: rollouts}" }}
{{- $kinds := ternary list .Values.rbac.scaledRefKinds (not .Values.rbac.enabledCustomScaledRefKinds) }}
{{- if not (or (kindIs "invalid" $kinds) (kindIs "slice" $kinds)) }}
{{- fail (printf "%s: expected a list, each element such as %s" $at $such) }}
{{- end }}
{{- range $kinds }}
{{- if not (kindIs "map" .) }}
{{- fail (printf "%s: %s: expected elements such as %s" $at (toJson .) $such) }}
{{- end }}
{{- $group := .apiGroup | default "" }}
{{- if not (regexMatch "^([*]|[a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$" (toString $group)) }}
{{- fail (printf "%s: apiGroup: %s is no API group: write one such as in %s, \"\" for the core group, or \"*\" for all" $at (toJson $group) $such) }}
{{- end }}
{{- if not (regexMatch "^([*]|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$" (toString .kind)) }}
{{- fail (printf "%s: kind: %s is no resource: write the plural name in lower case, such as in %s, or \"*\" for all" $at (toJson .kind) $such) }}
{{- end }}
{{- if and (eq .kind "secrets") (has $group (list "" "*")) }}
{{- fail (printf "%s: kind: Secrets can't be scaled, and this would let the operator read them all: take %s out" $at (toJson .)) }}
{{- end }}
- apiGroups: [{{ $group | quote }}]
  resources: [{{ printf "%s/scale" .kind | quote }}]
  verbs: [get, update]
{{- if not (has "*" (list $group .kind)) }}
- apiGroups: [{{ $group | quote }}]
  # The environment of its container, for parameters that end with FromEnv.
  resources: [{{ .kind | quote }}]
  verbs: [get, list, watch]
{{- end }}
{{ end }}
{{- end }}

{{/*
What `rbac.secrets` names: for each namespace its names, as JSON. Whatever isn't plainly a list of names ends the installation, because a rule
whose names are empty is a rule for every Secret.
*/}}
{{- define "sakidori.namedSecrets" -}}
{{- $at := "rbac.secrets" }}
{{- $such := "{namespace: shop, names: [rabbitmq, postgres]}" }}
{{- $named := dict }}
{{- if not (or (kindIs "invalid" .Values.rbac.secrets) (kindIs "slice" .Values.rbac.secrets)) }}
{{- fail (printf "%s: expected a list, each element such as %s" $at $such) }}
{{- end }}
{{- range .Values.rbac.secrets }}
{{- if not (kindIs "map" .) }}
{{- fail (printf "%s: %s: expected elements such as %s" $at (toJson .) $such) }}
{{- end }}
{{- $namespace := include "sakidori.objectName" (dict "value" .namespace "at" (printf "%s: namespace" $at) "such" "shop") }}
{{- if not (and (kindIs "slice" .names) .names) }}
{{- fail (printf "%s: names for the namespace %s: expected a list with at least one name, as in %s" $at $namespace $such) }}
{{- end }}
{{- $names := get $named $namespace | default list }}
{{- range .names }}
{{- $names = append $names (include "sakidori.objectName" (dict "value" . "at" (printf "%s: names for the namespace %s" $at $namespace) "such" "rabbitmq")) }}
{{- end }}
{{- $_ := set $named $namespace ($names | uniq) }}
{{- end }}
{{- toJson $named }}
{{- end }}

{{/* What triggers and authentications take parameters from, each watched by its name: also in the namespace of cluster-wide objects. */}}
{{- define "sakidori.sourceRules" -}}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
- apiGroups: [""]
  # Who a target's pods are, for identities on a cloud, and whose token is asked for.
  resources: [serviceaccounts]
  verbs: [list, watch]
{{- end }}

{{/* Reading Secrets: all, or those of permissions.operator.restrict.namesAllowList. They are watched by name, so a rule can name them. */}}
{{- define "sakidori.secretRule" -}}
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.permissions.operator.restrict.namesAllowList }}
  resourceNames:
    {{- range . }}
    - {{ include "sakidori.objectName" (dict "value" . "at" "permissions.operator.restrict.namesAllowList" "such" "rabbitmq") }}
    {{- end }}
  {{- end }}
  verbs: [get, list, watch]
{{- end }}

{{/* The same for the namespaces that are watched: nothing where Secrets are named one by one, or are the release's own only. */}}
{{- define "sakidori.watchedSecretRule" -}}
{{- if not (or .Values.rbac.secrets .Values.permissions.operator.restrict.secret) }}
{{- include "sakidori.secretRule" . }}
{{- end }}
{{- end }}

{{/* The namespaces that are watched, as a list between commas; nothing means all. */}}
{{- define "sakidori.watched" -}}
{{- $names := list }}
{{- range splitList "," (.Values.watchNamespace | default "") }}
{{- with trim . }}{{ $names = append $names . }}{{ end }}
{{- end }}
{{- join "," ($names | uniq) }}
{{- end }}

{{/* The Lease by which one replica leads; KEDA's where nothing is said. */}}
{{- define "sakidori.lease" -}}
{{- include "sakidori.objectName" (dict "value" (.Values.operator.leaderElectionID | default "operator.keda.sh") "at" "operator.leaderElectionID" "such" "operator.keda.sh") }}
{{- end }}

{{/* A role, by kind and name, that a ServiceAccount of the release has. */}}
{{- define "sakidori.bound" -}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .to }}
    namespace: {{ .of.Release.Namespace }}
{{- end }}
