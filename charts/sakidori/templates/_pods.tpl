{{/* What the pods of the operator and of the adapter have in common. */}}

{{- define "sakidori.image" -}}
{{- $image := .Values.image.keda }}
{{- $repository := required "image.keda.repository: there is no published image yet: build one, and name it here, such as platform/sakidori with image.keda.registry=registry.example.com" $image.repository }}
{{- if regexMatch "(^|/)kedacore/keda" $repository }}
{{- fail (printf "image.keda.repository: %s is KEDA's image, in which there is no sakidori: name an image of Sakidori" $repository) }}
{{- end }}
{{- $registry := .Values.global.image.registry | default $image.registry }}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Labels and annotations of a pod. `app` is its name, `labels` and `annotations` the user's. */}}
{{- define "sakidori.podMetadata" -}}
{{- /* What selectors look at is not the user's to change. */}}
{{- $own := dict "app" .app "name" .app -}}
{{- $labels := omit (.labels | default dict) "app.kubernetes.io/name" "app.kubernetes.io/instance" -}}
labels:
  {{- include "sakidori.labels" (dict "of" .of "app" .app "labels" (merge $own $labels)) | nindent 2 }}
{{- with merge dict (.annotations | default dict) (.of.Values.additionalAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A probe that asks a path of the probes' port, with the values' times. */}}
{{- define "sakidori.probe" -}}
httpGet:
  path: {{ .path }}
  port: probes
{{- with .times }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where a pod runs, and in what network: `own` are the values of its component, `spread` its topologySpreadConstraints, `app` its name. */}}
{{- define "sakidori.placement" -}}
{{- $values := .of.Values -}}
enableServiceLinks: {{ $values.enableServiceLinks }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationGracePeriodSeconds: {{ .own.terminationGracePeriodSeconds }}
{{- $nodes := dict "kubernetes.io/os" "linux" }}
{{- if $values.podIdentity.gcp.enabled }}
{{- $_ := set $nodes "iam.gke.io/gke-metadata-server-enabled" "true" }}
{{- end }}
nodeSelector:
  {{- toYaml (merge dict (.own.nodeSelector | default $values.nodeSelector) $nodes) | nindent 2 }}
{{- with .own.affinity | default $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations | default $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $own := dict "labelSelector" (dict "matchLabels" (dict "app" .app)) }}
{{- $spread := list }}
{{- range .spread }}{{ $spread = append $spread (ternary . (merge dict . $own) (hasKey . "labelSelector")) }}{{ end }}
{{- with $spread }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- /* On the node's network ClusterFirst is the node's DNS, by which no Service of the cluster is found. */}}
{{- $dns := .own.dnsPolicy | default "ClusterFirst" }}
dnsPolicy: {{ ternary "ClusterFirstWithHostNet" $dns (and (eq $dns "ClusterFirst") (eq (toString .own.useHostNetwork) "true")) }}
{{- with .own.dnsConfig | default $values.global.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
hostNetwork: {{ .own.useHostNetwork }}
{{- if kindIs "bool" .own.hostUsers }}
hostUsers: {{ .own.hostUsers }}
{{- end }}
{{- with $values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
How pods are replaced: as `wanted`, or, with the values `own` of the component, with care. A new one is Ready once it was told all values; only then
an old one goes, so there is always one that answers. On the node's network a new one has no port while an old one is there, so one goes first.
*/}}
{{- define "sakidori.strategy" -}}
{{- $surge := ternary 0 1 (eq (toString .own.useHostNetwork) "true") }}
{{- $careful := dict "type" "RollingUpdate" "rollingUpdate" (dict "maxSurge" $surge "maxUnavailable" (sub 1 $surge)) }}
{{- toYaml (.wanted | default $careful) }}
{{- end }}

{{/* Requests and limits. */}}
{{- define "sakidori.resources" -}}
{{- toYaml (include "sakidori.filled" . | fromJson) }}
{{- end }}

{{/*
The environment of a container: from `pod`, which has fields of the pod, from `own`, which has values, what both processes read, and `env`. A name that
`env` has is left to it: an API server takes no name twice.
*/}}
{{- define "sakidori.environment" -}}
{{- $service := .of.Values.service }}
{{- $own := merge dict .own (dict "KEDA_SERVICE_MIN_TLS_VERSION" ($service.minTlsVersion | default "") "KEDA_SERVICE_TLS_CIPHER_LIST" ($service.tlsCipherList | default "")) }}
{{- $theirs := list }}
{{- range .of.Values.env }}{{ $theirs = append $theirs .name }}{{ end }}
{{- $variables := list }}
{{- range $name, $field := .pod }}
{{- if not (has $name $theirs) }}{{ $variables = append $variables (dict "name" $name "valueFrom" (dict "fieldRef" (dict "fieldPath" $field))) }}{{ end }}
{{- end }}
{{- range $name, $value := $own }}
{{- if not (has $name $theirs) }}{{ $variables = append $variables (dict "name" $name "value" $value) }}{{ end }}
{{- end }}
{{- toYaml (concat $variables (.of.Values.env | default list)) }}
{{- end }}

{{/* Files of a pod, as a list of volumes and mounts in JSON. `certificates` is true where the certificate is mounted, `extra` are the user's. */}}
{{- define "sakidori.files" -}}
{{- $values := .of.Values }}
{{- $volumes := list }}
{{- $mounts := list }}
{{- if .certificates }}
{{- /* Not ca.key, with which certificates are made: whoever reads it is believed to be the operator. */}}
{{- $items := list }}
{{- range list "ca.crt" "tls.crt" "tls.key" }}{{ $items = append $items (dict "key" . "path" .) }}{{ end }}
{{- $volumes = append $volumes (dict "name" "certificates" "secret" (dict "secretName" $values.certificates.secretName "items" $items)) }}
{{- $mounts = append $mounts (dict "name" "certificates" "mountPath" $values.certificates.mountPath "readOnly" true) }}
{{- end }}
{{- range .secrets }}
{{- if .secret }}
{{- $volumes = append $volumes (dict "name" .name "secret" (dict "secretName" .secret)) }}
{{- $mounts = append $mounts (dict "name" .name "mountPath" .path "readOnly" true) }}
{{- end }}
{{- end }}
{{- toJson (dict "volumes" (concat $volumes (.extra.extraVolumes | default list)) "mounts" (concat $mounts (.extra.extraVolumeMounts | default list))) }}
{{- end }}
