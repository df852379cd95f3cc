{{- define "sakidori.checks" -}}
{{- end }}
