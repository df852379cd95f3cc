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
# Its own ValidatingWebhookConfiguration, for the authorities of its certificate.
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingwebhookconfigurations]
  resourceNames: [keda-admission]
  verbs: [get, list, watch, patch]
# Its own APIService, for the same, and so that the aggregation layer looks at once after a restart.
- apiGroups: [apiregistration.k8s.io]
  resources: [apiservices]
  resourceNames: [v1beta1.external.metrics.k8s.io]
  verbs: [get, list, watch, patch]
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
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
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
{{- range .Values.rbac.scaledRefKinds }}
- apiGroups: [{{ .apiGroup | quote }}]
  resources: [{{ printf "%s/scale" .kind | quote }}]
  verbs: [get, update]
- apiGroups: [{{ .apiGroup | quote }}]
  # The environment of its container, for parameters that end with FromEnv.
  resources: [{{ .kind | quote }}]
  verbs: [get, list, watch]
{{- end }}
# Room for a sale's floor before its pods are there, where a trigger says nodes: capacity-buffer.
- apiGroups: [autoscaling.x-k8s.io]
  resources: [capacitybuffers]
  verbs: [get, create, patch, delete]
# The environment of the target's container, and what admission and a floor look at in it.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch]
# The trigger types kubernetes-workload, and metrics-api with aggregateFromKubeServiceEndpoints; and the pods of a floor.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
# Admission: the requests that a LimitRange gives to containers, and whether a ResourceQuota has room for a floor.
- apiGroups: [""]
  resources: [limitranges, resourcequotas]
  verbs: [list]
{{ include "sakidori.sourceRules" . }}
{{- if eq (include "sakidori.readsAllSecrets" .) "true" }}
{{ include "sakidori.secretRule" . }}
{{- end }}
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

{{- define "sakidori.secretRule" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
{{- end }}

{{/* True where the operator may read every Secret of the namespaces that it watches. */}}
{{- define "sakidori.readsAllSecrets" -}}
{{- not (or .Values.rbac.secrets .Values.permissions.operator.restrict.secret) }}
{{- end }}

{{/* The namespaces that are watched, as a list between commas; nothing means all. */}}
{{- define "sakidori.watched" -}}
{{- $names := list }}
{{- range splitList "," .Values.watchNamespace }}
{{- with trim . }}{{ $names = append $names . }}{{ end }}
{{- end }}
{{- join "," ($names | uniq) }}
{{- end }}
