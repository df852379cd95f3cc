{{/*
What values.schema.json can't say, or says in too few words: each line names the value, what it is and what to write. Nothing is ignored that would
make a difference.
*/}}
{{- define "sakidori.checks" -}}
{{- include "sakidori.keda" . }}
{{- include "sakidori.oldForms" . }}
{{- include "sakidori.shapes" . }}
{{- include "sakidori.ports" . }}
{{- include "sakidori.extraFlags" (dict "at" "extraArgs.keda" "extra" .Values.extraArgs.keda "known" (.Files.Get "files/flags.yaml" | fromYaml).operator) }}
{{- include "sakidori.extraFlags" (dict "at" "extraArgs.metricsAdapter" "extra" .Values.extraArgs.metricsAdapter "known" (.Files.Get "files/flags.yaml" | fromYaml).metricsAdapter) }}
{{- include "sakidori.anothersApi" . }}
{{- if .Release.IsUpgrade }}{{ include "sakidori.kedasDefinitions" . }}{{ end }}
{{- end }}

{{/* KEDA's values that would be missed. */}}
{{- define "sakidori.keda" -}}
{{- $values := .Values }}
{{- range $at := list "watchLabelSelector" "watchLabelSelectorForTriggerauth" }}
{{- with get $values.AsMap $at }}
{{- fail (printf "%s: %s: there is no filter by labels here, and without it more objects would be scaled: name their namespaces in watchNamespace, and take this out" $at (toJson .)) }}
{{- end }}
{{- end }}
{{- if dig "opentelemetry" "operator" "enabled" false $values.AsMap }}
{{- fail "opentelemetry.operator.enabled: metrics are not pushed to an OpenTelemetry collector: let its Prometheus receiver read prometheus.operator.port, and write false" }}
{{- end }}
{{- with dig "certificates" "operator" "caDirs" list $values.AsMap }}
{{- fail (printf "certificates.operator.caDirs: %s: authorities of event sources are read from one file: mount it with volumes.keda, name it with SSL_CERT_FILE in env, and take this out" (toJson .)) }}
{{- end }}
{{- if and $values.webhooks.useHostNetwork (not $values.operator.useHostNetwork) }}
{{- fail "webhooks.useHostNetwork: the operator's pods serve the webhooks: write operator.useHostNetwork: true" }}
{{- end }}
{{- if and $values.metricsServer.useHostNetwork (not $values.metricsServer.separate) (not $values.operator.useHostNetwork) }}
{{- fail "metricsServer.useHostNetwork: the operator's pods serve the external metrics API: write operator.useHostNetwork: true, or metricsServer.separate: true" }}
{{- end }}
{{- /* The adapter has no way yet to be told. */}}
{{- if and $values.metricsServer.enabled $values.metricsServer.separate }}
{{- with $values.service.minTlsVersion }}
{{- if ne . "TLS13" }}
{{- fail (printf "service.minTlsVersion: %s: the adapter of metricsServer.separate can't be told, and serves TLS13 only: write TLS13, or metricsServer.separate: false" .) }}
{{- end }}
{{- end }}
{{- with $values.service.tlsCipherList }}
{{- fail (printf "service.tlsCipherList: %s: the adapter of metricsServer.separate can't be told, and serves TLS13 only, for which the list doesn't count: write \"\", or metricsServer.separate: false" .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Values of a component that stand one level too high, where KEDA's chart once had them. */}}
{{- define "sakidori.oldForms" -}}
{{- $values := .Values.AsMap }}
{{- $components := list "operator" "metricServer" "webhooks" }}
{{- range list "serviceAccount" "podDisruptionBudget" "resources" "securityContext" "podSecurityContext" }}
{{- $at := . }}
{{- range $key, $_ := get $values $at }}
{{- if not (has $key $components) }}
{{- fail (printf "%s.%s: no such value: %s.operator.%s is the operator's, and %s.metricServer.%s the metrics adapter's" $at $key $at $key $at $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Texts that have to be of some form. */}}
{{- define "sakidori.shapes" -}}
{{- $name := dict "like" "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" "such" "a name in small letters, digits and dashes, such as keda-operator" }}
{{- /* A Service has 63, and that of the external metrics API is this name with -metrics-apiserver. */}}
{{- $short := dict "like" "^[a-z0-9]([-a-z0-9]{0,43}[a-z0-9])?$" "such" "a name in small letters, digits and dashes, at most 45 of them, such as keda-operator" }}
{{- $namespace := dict "like" (get $name "like") "such" "namespaces, separated by commas, such as shop,web" }}
{{- $domain := dict "like" "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" "such" "a domain, such as cluster.local" }}
{{- $level := dict "like" "^([0-9]+|[a-z_:]+(=[a-z]+)?(,[a-z_:]+(=[a-z]+)?)*)$" "such" "error, warn, info, debug or trace, a number such as 1 for debug, or a filter such as info,sakidori_operator=debug" }}
{{- $duration := dict "like" "^([0-9]+(h|m|s))+$" "such" "a duration such as 8760h" }}
{{- $path := dict "like" "^/[^ ]+$" "such" "a path such as /certs" }}
{{- $scrape := dict "like" "^([0-9]+(y|w|d|h|m|s|ms))*$" "such" "a duration such as 30s" }}
{{- $repository := dict "like" "^[^ :@]*(:[0-9]+/[^ :@]+)?$" "such" "a repository without a tag, such as platform/sakidori; the tag is image.keda.tag" }}
{{- $values := .Values }}
{{- $checks := list
  (list "operator.name" $values.operator.name $short)
  (list "webhooks.name" $values.webhooks.name $name)
  (list "serviceAccount.operator.name" $values.serviceAccount.operator.name $name)
  (list "serviceAccount.metricServer.name" $values.serviceAccount.metricServer.name $name)
  (list "clusterDomain" $values.clusterDomain $domain)
  (list "image.keda.repository" $values.image.keda.repository $repository)
  (list "logging.operator.level" $values.logging.operator.level $level)
  (list "logging.metricServer.zapLevel" $values.logging.metricServer.zapLevel $level)
  (list "certificates.mountPath" $values.certificates.mountPath $path)
  (list "certificates.certManager.duration" $values.certificates.certManager.duration $duration)
  (list "certificates.certManager.renewBefore" $values.certificates.certManager.renewBefore $duration) }}
{{- range splitList "," (include "sakidori.watched" .) }}
{{- if . }}{{ $checks = append $checks (list "watchNamespace" . $namespace) }}{{ end }}
{{- end }}
{{- range $component := list "operator" "metricServer" }}
{{- range $monitor := list "serviceMonitor" "podMonitor" }}
{{- range $time := list "interval" "scrapeTimeout" }}
{{- $at := printf "prometheus.%s.%s.%s" $component $monitor $time }}
{{- $checks = append $checks (list $at (dig $component $monitor $time "" $values.prometheus) $scrape) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $checks }}
{{- $expected := index . 2 }}
{{- if not (regexMatch $expected.like (index . 1 | toString)) }}
{{- fail (printf "%s: %s: expected %s" (index . 0) (index . 1 | toJson) $expected.such) }}
{{- end }}
{{- end }}
{{- range $component, $budget := $values.podDisruptionBudget }}
{{- $budget = include "sakidori.filled" $budget | fromJson }}
{{- if and (hasKey $budget "minAvailable") (hasKey $budget "maxUnavailable") }}
{{- fail (printf "podDisruptionBudget.%s: minAvailable and maxUnavailable: expected one of the two" $component) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Each port of the pods is taken once. */}}
{{- define "sakidori.ports" -}}
{{- $ports := list (list "service.portHttpsTarget" .Values.service.portHttpsTarget) (list "prometheus.operator.port" .Values.prometheus.operator.port) }}
{{- if .Values.webhooks.enabled }}
{{- $ports = append $ports (list "webhooks.port" (include "sakidori.webhookPort" .)) }}
{{- end }}
{{- include "sakidori.takenOnce" (dict "ports" $ports "taken" (dict "8081" "the probes" "9666" "what replicas tell each other")) }}
{{- if and .Values.metricsServer.enabled .Values.metricsServer.separate }}
{{- $ports := list (list "service.portHttpsTarget" .Values.service.portHttpsTarget) (list "prometheus.metricServer.port" .Values.prometheus.metricServer.port) }}
{{- include "sakidori.takenOnce" (dict "ports" $ports "taken" (dict "8081" "the probes")) }}
{{- end }}
{{- end }}

{{/* `ports` of one pod, each with its value's path, beside those that are `taken`. */}}
{{- define "sakidori.takenOnce" -}}
{{- $taken := .taken }}
{{- range .ports }}
{{- $at := index . 0 }}
{{- $port := index . 1 | int | toString }}
{{- with get $taken $port }}
{{- fail (printf "%s: %s is the port of %s: expected another one" $at $port .) }}
{{- end }}
{{- $_ := set $taken $port $at }}
{{- end }}
{{- end }}

{{/* Flags that there are. */}}
{{- define "sakidori.extraFlags" -}}
{{- $ignored := include "sakidori.ignoredFlags" nil | fromJsonArray }}
{{- $known := .known }}
{{- $at := .at }}
{{- /* A flag that --help doesn't list. */}}
{{- $ignored = append $ignored "zap-devel" }}
{{- range $flag, $value := .extra }}
{{- if not (or (has $flag $known) (has $flag $ignored)) }}
{{- fail (printf "%s.%s: there is no flag --%s: expected one of %s" $at $flag $flag (join ", " $known)) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
A release of KEDA's chart that is upgraded to this one would lose the definitions that this one doesn't have, and with them all their objects. Helm
looks at the annotation in the cluster.
*/}}
{{- define "sakidori.kedasDefinitions" -}}
{{- range list "scaledjobs.keda.sh" "cloudeventsources.eventing.keda.sh" "clustercloudeventsources.eventing.keda.sh" }}
{{- $annotations := dig "metadata" "annotations" dict (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" .) }}
{{- $ours := and (eq (get $annotations "meta.helm.sh/release-name") $.Release.Name) (eq (get $annotations "meta.helm.sh/release-namespace") $.Release.Namespace) }}
{{- if and $ours (ne (get $annotations "helm.sh/resource-policy") "keep") }}
{{- fail (printf "this upgrade would delete the definition %s of KEDA's chart, and with it every object of that kind. To keep them: kubectl annotate crd %s helm.sh/resource-policy=keep. If there are none that you need: kubectl delete crd %s" . . .) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
A cluster has one external metrics API. Helm would only say of some object that it is another release's. Who may install an APIService may read it.
*/}}
{{- define "sakidori.anothersApi" -}}
{{- if .Values.metricsServer.enabled }}
{{- $annotations := dig "metadata" "annotations" dict (lookup "apiregistration.k8s.io/v1" "APIService" "" "v1beta1.external.metrics.k8s.io") }}
{{- $name := get $annotations "meta.helm.sh/release-name" }}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" }}
{{- if and $name (or (ne $name .Release.Name) (ne $namespace .Release.Namespace)) }}
{{- fail (printf "the external metrics API of this cluster belongs to release %s in namespace %s, and a cluster has one. If that is KEDA, upgrade that release to this chart, or uninstall it first and keep its definitions: docs/migration/from-keda.md" $name $namespace) }}
{{- end }}
{{- end }}
{{- end }}
