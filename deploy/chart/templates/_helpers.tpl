{{- define "fanmail.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "fanmail.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "fanmail.labels" -}}
{{ include "fanmail.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: fanmail
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The image of a command: dict root, command. */}}
{{- define "fanmail.image" -}}
{{- $i := .root.Values.image -}}
{{- $repository := $i.repository -}}
{{- if eq $i.layout "ko" }}{{ $repository = printf "%s/%s" $i.repository .command }}{{ end -}}
{{- if $i.digest }}{{ $repository }}@{{ $i.digest }}{{ else }}{{ $repository }}:{{ $i.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{- define "fanmail.command" -}}
{{- if eq .root.Values.image.layout "ko" }}/ko-app/{{ .command }}{{ else }}/usr/bin/{{ .command }}{{ end -}}
{{- end -}}

{{/* The settings that the restricted standard requires of a pod. */}}
{{- define "fanmail.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "fanmail.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The connection to Postgres of a role: dict root, role. */}}
{{- define "fanmail.databaseEnv" -}}
- name: FANMAIL_DATABASE_URL
{{- if .root.Values.bundled.enabled }}
  valueFrom: {secretKeyRef: {name: {{ include "bundled.name" .root }}, key: database-url}}
{{- else }}
{{- $s := index .root.Values.database.secrets .role }}
  valueFrom: {secretKeyRef: {name: {{ $s.name | quote }}, key: {{ $s.key | quote }}}}
{{- end }}
{{- end -}}

{{/* The connection to NATS of a user: dict root, role. */}}
{{- define "fanmail.natsEnv" -}}
{{- $n := .root.Values.nats -}}
- name: FANMAIL_NATS_URL
{{- if .root.Values.bundled.enabled }}
  value: nats://{{ include "bundled.name" .root }}-nats:4222
{{- else }}
{{- $s := index $n.secrets .role }}
  valueFrom: {secretKeyRef: {name: {{ $s.name | quote }}, key: {{ $s.key | quote }}}}
{{- end }}
{{- if $n.tlsSecret }}
- {name: FANMAIL_NATS_CA, value: /etc/fanmail/nats-tls/ca.crt}
{{- if $n.clientCertificate }}
- {name: FANMAIL_NATS_CERT, value: /etc/fanmail/nats-tls/tls.crt}
- {name: FANMAIL_NATS_KEY, value: /etc/fanmail/nats-tls/tls.key}
{{- end }}
{{- end }}
{{- with $n.jetStreamDomain }}
- {name: FANMAIL_NATS_JS_DOMAIN, value: {{ . | quote }}}
{{- end }}
{{- with $n.jetStreamAPIPrefix }}
- {name: FANMAIL_NATS_JS_API_PREFIX, value: {{ . | quote }}}
{{- end }}
- {name: FANMAIL_STREAMS, value: {{ ternary "make" "external" (or .root.Values.bundled.enabled (eq $n.streams.by "application")) }}}
- {name: FANMAIL_STREAM_REPLICAS, value: {{ ternary 1 $n.streams.replicas .root.Values.bundled.enabled | int | quote }}}
- {name: FANMAIL_EVENTS_MAX_AGE, value: {{ $n.streams.eventsMaxAge | quote }}}
- {name: FANMAIL_EVENTS_MAX_BYTES, value: {{ $n.streams.eventsMaxBytes | int64 | quote }}}
{{- end -}}

{{- define "fanmail.logEnv" -}}
- {name: FANMAIL_LOG_LEVEL, value: {{ .Values.log.level }}}
- {name: FANMAIL_LOG_FORMAT, value: {{ .Values.log.format }}}
{{- end -}}

{{/* The level comes from a file that is read again, so that changing it rolls no
pods. Hooks run before the ConfigMap is there. */}}
{{- define "fanmail.settingsEnv" -}}
- {name: FANMAIL_LOG_LEVEL_FILE, value: /etc/fanmail/settings/log-level}
- {name: FANMAIL_LOG_FORMAT, value: {{ .Values.log.format }}}
{{- end -}}

{{- define "fanmail.settingsMount" -}}
- {name: settings, mountPath: /etc/fanmail/settings, readOnly: true}
{{- end -}}

{{- define "fanmail.settingsVolume" -}}
- {name: settings, configMap: {name: {{ include "fanmail.fullname" . }}-settings}}
{{- end -}}

{{/* The keyset that encrypts secrets in the database: strings that begin with a newline, or nothing. */}}
{{- define "fanmail.secretsKeyEnv" -}}
{{- if .Values.secretsKey.secret.name }}
- {name: FANMAIL_SECRETS_KEY_FILE, value: /etc/fanmail/secrets-key/secrets-key.json}
{{- with .Values.secretsKey.kms }}
- {name: FANMAIL_SECRETS_KMS, value: {{ . | quote }}}
{{- end }}
{{- with .Values.secretsKey.extraEnv }}{{ toYaml . | nindent 0 }}{{ end }}
{{- end }}
{{- end -}}

{{- define "fanmail.secretsKeyMount" -}}
{{- if .Values.secretsKey.secret.name }}
- {name: secrets-key, mountPath: /etc/fanmail/secrets-key, readOnly: true}
{{- end }}
{{- end -}}

{{- define "fanmail.secretsKeyVolume" -}}
{{- with .Values.secretsKey.secret }}{{ if .name }}
- {name: secrets-key, secret: {secretName: {{ .name | quote }}, defaultMode: 0440, items: [{key: {{ .key | quote }}, path: secrets-key.json}]}}
{{- end }}{{ end }}
{{- end -}}

{{/* The sign-in by OpenID Connect: a string that begins with a newline, or nothing. */}}
{{- define "fanmail.oidcEnv" -}}
{{- with .Values.oidc }}{{ if .issuer }}
{{- $roles := list }}
{{- range .roles }}{{ $roles = append $roles (ternary (printf "%s=%s:%s" .group .role .tenant) (printf "%s=%s" .group .role) (hasKey . "tenant")) }}{{ end }}
- {name: FANMAIL_OIDC_ISSUER, value: {{ .issuer | quote }}}
- {name: FANMAIL_OIDC_CLIENT_ID, value: {{ .clientID | quote }}}
{{- if .clientSecret.name }}
- {name: FANMAIL_OIDC_CLIENT_SECRET, valueFrom: {secretKeyRef: {name: {{ .clientSecret.name | quote }}, key: {{ .clientSecret.key | quote }}}}}
{{- end }}
- {name: FANMAIL_CONSOLE_URL, value: {{ required "oidc.consoleURL is required with oidc.issuer" .consoleURL | quote }}}
- {name: FANMAIL_OIDC_ROLES, value: {{ join "," $roles | quote }}}
- {name: FANMAIL_OIDC_GROUPS_CLAIM, value: {{ .groupsClaim | quote }}}
- {name: FANMAIL_OIDC_TENANT_CLAIM, value: {{ .tenantClaim | quote }}}
- {name: FANMAIL_OIDC_SCOPES, value: {{ join "," .scopes | quote }}}
{{- end }}{{ end }}
{{- end -}}

{{/* Mails about failing webhooks: strings that begin with a newline, or nothing. */}}
{{- define "fanmail.alertMailEnv" -}}
{{- with .Values.alertMail }}{{ if .relay }}
- {name: FANMAIL_ALERT_RELAY, value: {{ .relay | quote }}}
{{- if .password.name }}
- {name: FANMAIL_ALERT_RELAY_PASSWORD_FILE, value: /etc/fanmail/alert-relay/password}
{{- end }}
- {name: FANMAIL_ALERT_FROM, value: {{ required "alertMail.from is required with alertMail.relay" .from | quote }}}
{{- with $.Values.api.publicURL }}
- {name: FANMAIL_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
{{- end }}{{ end }}
{{- end -}}

{{- define "fanmail.alertMailMount" -}}
{{- if and .Values.alertMail.relay .Values.alertMail.password.name }}
- {name: alert-relay, mountPath: /etc/fanmail/alert-relay, readOnly: true}
{{- end }}
{{- end -}}

{{- define "fanmail.alertMailVolume" -}}
{{- with .Values.alertMail }}{{ if and .relay .password.name }}
- {name: alert-relay, secret: {secretName: {{ .password.name | quote }}, defaultMode: 0440, items: [{key: {{ .password.key | quote }}, path: password}]}}
{{- end }}{{ end }}
{{- end -}}

{{/* The blob store of large raw mails: a string that begins with a newline, or nothing. */}}
{{- define "fanmail.blobsEnv" -}}
{{- with .Values.blobs.secret }}{{ if .name }}
- {name: FANMAIL_BLOBS, valueFrom: {secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}}}
{{- end }}{{ end }}
{{- end -}}

{{/* How long rows are kept. */}}
{{- define "fanmail.retentionEnv" -}}
{{- with .Values.maintain.eventRetention }}
- {name: FANMAIL_EVENT_RETENTION, value: {{ . | quote }}}
{{- end }}
{{- with .Values.maintain.deliveryRetention }}
- {name: FANMAIL_DELIVERY_RETENTION, value: {{ . | quote }}}
{{- end }}
{{- with .Values.maintain.attemptRetention }}
- {name: FANMAIL_ATTEMPT_RETENTION, value: {{ . | quote }}}
{{- end }}
{{- with .Values.maintain.mailRetention }}
- {name: FANMAIL_MAIL_RETENTION, value: {{ . | quote }}}
{{- end }}
{{- end -}}

{{/* The settings of an SMTP server: its values. */}}
{{- define "fanmail.smtpEnv" -}}
- {name: FANMAIL_SMTP_ADDR, value: ":2525"}
- {name: FANMAIL_SMTP_DOMAIN, value: {{ .domain | quote }}}
- {name: FANMAIL_MAX_MESSAGE_BYTES, value: {{ .maxMessageBytes | int64 | quote }}}
- {name: FANMAIL_MAX_RECIPIENTS, value: {{ .maxRecipients | int64 | quote }}}
- {name: FANMAIL_MAX_CONNECTIONS, value: {{ .maxSMTPConnections | int64 | quote }}}
- {name: FANMAIL_MAX_BUFFERED_BYTES, value: {{ .maxBufferedBytes | int64 | quote }}}
- {name: FANMAIL_SPOOL_DIR, value: /var/spool/fanmail}
{{- if .tlsSecret }}
- {name: FANMAIL_SMTP_TLS_CERT, value: /etc/fanmail/smtp-tls/tls.crt}
- {name: FANMAIL_SMTP_TLS_KEY, value: /etc/fanmail/smtp-tls/tls.key}
{{- end }}
{{- end -}}

{{- define "fanmail.smtpMounts" }}
- {name: spool, mountPath: /var/spool/fanmail}
{{- if .tlsSecret }}
- {name: smtp-tls, mountPath: /etc/fanmail/smtp-tls, readOnly: true}
{{- end }}
{{- end -}}

{{- define "fanmail.smtpVolumes" }}
- {name: spool, emptyDir: {}}
{{- with .tlsSecret }}
- {name: smtp-tls, secret: {secretName: {{ . | quote }}, defaultMode: 0440}}
{{- end }}
{{- end -}}

{{/* The Service of an SMTP server: dict root, component. */}}
{{- define "fanmail.smtpService" -}}
{{- $service := (index .root.Values .component).service -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "fanmail.fullname" .root }}-{{ .component }}
  labels: {{- include "fanmail.labels" . | nindent 4 }}
  {{- with $service.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $service.type }}
  {{- if ne $service.type "ClusterIP" }}
  externalTrafficPolicy: {{ $service.externalTrafficPolicy }}
  {{- end }}
  selector: {{- include "fanmail.selector" . | nindent 4 }}
  ports: [{name: smtp, port: {{ $service.port }}, targetPort: smtp, protocol: TCP}]
{{- end -}}

{{- define "fanmail.outboundEnv" -}}
- {name: FANMAIL_ALLOW_HTTP, value: {{ .Values.outbound.allowHTTP | quote }}}
{{- with .Values.outbound.allowNetworks }}
- {name: FANMAIL_ALLOW_NETWORKS, value: {{ join "," . | quote }}}
{{- end }}
{{- with .Values.outbound.allowPorts }}
- {name: FANMAIL_ALLOW_PORTS, value: {{ join "," . | quote }}}
{{- end }}
{{- end -}}

{{- define "fanmail.mounts" -}}
{{- if .Values.database.tlsSecret }}
- {name: database-tls, mountPath: /etc/fanmail/database-tls, readOnly: true}
{{- end }}
{{- if .Values.nats.tlsSecret }}
- {name: nats-tls, mountPath: /etc/fanmail/nats-tls, readOnly: true}
{{- end }}
{{- end -}}

{{- define "fanmail.volumes" -}}
{{- with .Values.database.tlsSecret }}
- {name: database-tls, secret: {secretName: {{ . | quote }}, defaultMode: 0440}}
{{- end }}
{{- with .Values.nats.tlsSecret }}
- {name: nats-tls, secret: {secretName: {{ . | quote }}, defaultMode: 0440}}
{{- end }}
{{- end -}}

{{/* Seconds of a duration such as 25s, 2m or 1m30s. */}}
{{- define "fanmail.seconds" -}}
{{- $d := . -}}
{{- if regexMatch "^[0-9]+s$" $d }}{{ trimSuffix "s" $d }}{{ else if regexMatch "^[0-9]+m$" $d }}{{ mul 60 (trimSuffix "m" $d | int) }}{{ else }}{{ fail (printf "drain is %q: write it as whole seconds or minutes, such as 25s" $d) }}{{ end -}}
{{- end -}}

{{/* An egress rule: dict peers, port. */}}
{{- define "fanmail.to" -}}
{{- if .peers }}
to: {{- toYaml .peers | nindent 2 }}
{{- end }}
ports: [{protocol: TCP, port: {{ .port }}}]
{{- end -}}
