{{/*
The objects that every process has: a ServiceAccount, a Deployment and a
PodDisruptionBudget. dict root, component, port (of /healthz, /readyz and
/metrics), command (the component's, unless given), and the strings env, ports,
mounts, volumes. An edge has no database.
*/}}
{{- define "fanmail.process" -}}
{{- $root := .root -}}
{{- $c := index $root.Values .component -}}
{{- $command := .command | default .component -}}
{{- $preStop := $c.preStopSeconds | default 0 | int -}}
{{- $drain := include "fanmail.seconds" $c.drain | int -}}
{{- /* The process adds a tenth to its drain, and closes within 3 s. */ -}}
{{- $need := add $preStop $drain (div (add $drain 9) 10) 3 -}}
{{- if lt ($c.terminationGracePeriodSeconds | int) ($need | int) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %v: preStop and drain take up to %v s, and the kubelet kills what is there after that" .component $c.terminationGracePeriodSeconds $need) -}}
{{- end -}}
{{- $scaling := $c.autoscaling | default dict -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "fanmail.fullname" $root }}-{{ .component }}
  labels: {{- include "fanmail.labels" . | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "fanmail.fullname" $root }}-{{ .component }}
  labels: {{- include "fanmail.labels" . | nindent 4 }}
spec:
  {{- if eq ($scaling.by | default "none") "none" }}
  replicas: {{ $c.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  minReadySeconds: 5
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels: {{- include "fanmail.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "fanmail.labels" . | nindent 8 }}
      {{- with $c.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "fanmail.fullname" $root }}-{{ .component }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $c.terminationGracePeriodSeconds }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $c.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      securityContext: {{- include "fanmail.podSecurity" $root | nindent 8 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "fanmail.selector" . | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "fanmail.selector" . | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
      {{- with $c.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $c.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $c.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "fanmail.image" (dict "root" $root "command" $command) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [{{ include "fanmail.command" (dict "root" $root "command" $command) }}]
          securityContext: {{- include "fanmail.containerSecurity" $root | nindent 12 }}
          env:
            {{- if ne .component "edge" }}
            {{- include "fanmail.databaseEnv" (dict "root" $root "role" .component) | nindent 12 }}
            {{- if $root.Values.bundled.enabled }}
            - {name: FANMAIL_MIGRATE, value: "true"}
            {{- end }}
            - {name: FANMAIL_DATABASE_MAX_CONNS, value: {{ $c.maxConnections | quote }}}
            {{- end }}
            {{- include "fanmail.natsEnv" (dict "root" $root "role" .component) | nindent 12 }}
            {{- include "fanmail.settingsEnv" $root | nindent 12 }}
            - {name: FANMAIL_HTTP_ADDR, value: ":{{ .port }}"}
            - {name: FANMAIL_DRAIN, value: {{ $c.drain | quote }}}
            {{- with .env }}{{ . | nindent 12 }}{{ end }}
            {{- with $c.extraEnv }}{{ toYaml . | nindent 12 }}{{ end }}
          ports:
            - {name: status, containerPort: {{ .port }}, protocol: TCP}
            {{- with .ports }}{{ . | nindent 12 }}{{ end }}
          {{- include "fanmail.probes" $root | nindent 10 }}
          {{- if $preStop }}
          # Senders learn first that the pod is leaving.
          lifecycle: {preStop: {sleep: {seconds: {{ $preStop }}}}}
          {{- end }}
          resources: {{- toYaml $c.resources | nindent 12 }}
          volumeMounts:
            {{- include "fanmail.settingsMount" $root | nindent 12 }}
            {{- with print (include "fanmail.mounts" $root) (.mounts | default "") }}{{ . | nindent 12 }}{{ end }}
      volumes:
        {{- include "fanmail.settingsVolume" $root | nindent 8 }}
        {{- with print (include "fanmail.volumes" $root) (.volumes | default "") }}{{ . | nindent 8 }}{{ end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "fanmail.fullname" $root }}-{{ .component }}
  labels: {{- include "fanmail.labels" . | nindent 4 }}
spec:
  {{- toYaml $c.podDisruptionBudget | nindent 2 }}
  # Without Postgres no pod is ready, and no publisher without NATS. Nodes must be drainable even then.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "fanmail.selector" . | nindent 6 }}
{{- if eq ($scaling.by | default "none") "hpa" }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "fanmail.fullname" $root }}-{{ .component }}
  labels: {{- include "fanmail.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "fanmail.fullname" $root }}-{{ .component }}}
  minReplicas: {{ $scaling.min }}
  maxReplicas: {{ $scaling.max }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ $scaling.hpa.cpuUtilization }}}}
  behavior:
    # Scaling down moves partitions, so do it seldom.
    scaleDown: {stabilizationWindowSeconds: 300}
{{- end }}
---
{{ include "fanmail.status" . }}
{{- end -}}

{{/* The kubelet's probes of a process. */}}
{{- define "fanmail.probes" -}}
# A process that waits for Postgres or NATS is alive but not ready. A restart would
# not bring them back.
startupProbe:
  httpGet: {path: /healthz, port: status}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /healthz, port: status}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: status}
  periodSeconds: 5
  timeoutSeconds: 4
  failureThreshold: 2
{{- end -}}

{{/* The Service through which Prometheus finds a process, ready or not: dict root, component, port. */}}
{{- define "fanmail.status" -}}
{{- $root := .root -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "fanmail.fullname" $root }}-{{ .component }}-status
  labels: {{- include "fanmail.labels" . | nindent 4 }}
    fanmail.dev/metrics: "true"
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {{- include "fanmail.selector" . | nindent 4 }}
  ports: [{name: status, port: {{ .port }}, targetPort: status, protocol: TCP}]
{{- if $root.Values.serviceMonitor.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "fanmail.fullname" $root }}-{{ .component }}
  labels: {{- include "fanmail.labels" . | nindent 4 }}
    {{- with $root.Values.serviceMonitor.labels }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  # The job has the same name as in deploy/observability.
  jobLabel: app.kubernetes.io/component
  selector:
    matchLabels:
      {{- include "fanmail.selector" . | nindent 6 }}
      fanmail.dev/metrics: "true"
  endpoints:
    - port: status
      path: /metrics
      interval: {{ $root.Values.serviceMonitor.interval }}
      relabelings:
        - {targetLabel: job, replacement: fanmail-{{ .component }}}
{{- end }}
{{- end -}}
