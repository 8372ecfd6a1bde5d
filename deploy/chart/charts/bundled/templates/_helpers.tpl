{{/* Fanmail's chart uses the same names to connect to Postgres and NATS. */}}
{{- define "bundled.name" -}}
{{ printf "%s-bundled" (.Release.Name | trunc 40 | trimSuffix "-") }}
{{- end -}}

{{/* dict root, component. */}}
{{- define "bundled.selector" -}}
app.kubernetes.io/name: bundled
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "bundled.labels" -}}
{{ include "bundled.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: fanmail
{{- end -}}
