{{/* The pods of a consumer. */}}
{{- define "consumer-fleet.pod" -}}
{{- $c := .c -}}
{{- $root := .root -}}
metadata:
  annotations:
    checksum/config: {{ include "consumer-fleet.config" . | sha256sum }}
    {{- with include "consumer-fleet.dsns" . }}
    checksum/dsns: {{ sha256sum . }}
    {{- end }}
    {{- if $root.Values.exporter.enabled }}
    checksum/statsd-mapping: {{ $root.Files.Get "files/statsd-mapping.yaml" | sha256sum }}
    {{- end }}
    {{- with $c.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "consumer-fleet.podLabels" (merge (dict "more" $c.podLabels) .labelArguments) | nindent 4 }}
spec:
  {{- include "consumer-fleet.podBasics" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ int $c.terminationGracePeriodSeconds }}
  {{- with include "consumer-fleet.topologySpread" . }}
  topologySpreadConstraints:
    {{- . | nindent 4 }}
  {{- end }}
  {{- if or $root.Values.exporter.enabled $c.initContainers }}
  initContainers:
    {{- if $root.Values.exporter.enabled }}
    {{- include "consumer-fleet.exporter" . | nindent 4 }}
    {{- end }}
    {{- with $c.initContainers }}
    {{- include "consumer-fleet.extraContainers" (list $c .) | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: consumer
      image: {{ include "consumer-fleet.image" (dict "image" $root.Values.image "tag" $root.Chart.AppVersion) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- toYaml (concat (list "run") $c.extraArgs) | nindent 8 }}
      env:
        {{- include "consumer-fleet.env" . | trim | nindent 8 }}
        {{- with include "consumer-fleet.memberEnv" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $c.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $c.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      lifecycle:
        # An emptyDir outlives a container: the heartbeat of the one before must not start this one.
        postStart:
          exec:
            command: [rm, -f, /tmp/consumer-health]
      {{- include "consumer-fleet.probes" . | trim | nindent 6 }}
      resources:
        {{- include "consumer-fleet.resources" . | nindent 8 }}
      securityContext:
        {{- toYaml $c.securityContext | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/consumer-fleet
          readOnly: true
        - name: tmp
          mountPath: /tmp
        - name: shm
          mountPath: /dev/shm
        {{- if eq $root.Values.statsd.target "socket" }}
        - name: statsd
          mountPath: {{ dir $root.Values.statsd.socket.path }}
        {{- end }}
        {{- with $c.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $c.extraContainers }}
    {{- include "consumer-fleet.extraContainers" (list $c .) | nindent 4 }}
    {{- end }}
  volumes:
    - {{ include "consumer-fleet.configVolume" . | indent 6 | trim }}
    - name: tmp
      emptyDir:
        medium: Memory
        sizeLimit: {{ $c.scratch.tmpSizeLimit }}
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: {{ include "consumer-fleet.shmMi" . }}Mi
    {{- if $root.Values.exporter.enabled }}
    - name: statsd-mapping
      configMap:
        name: {{ include "consumer-fleet.fullname" $root }}-statsd-mapping
    {{- else if eq $root.Values.statsd.target "socket" }}
    - {{ include "consumer-fleet.statsdVolume" $root | indent 6 | trim }}
    {{- end }}
    {{- with $c.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Fields of every pod of the release, including the inspector's and the tests'. */}}
{{- define "consumer-fleet.podBasics" -}}
serviceAccountName: {{ include "consumer-fleet.serviceAccountName" .root }}
automountServiceAccountToken: false
# A Service called consumer-… would set variables that look like options.
enableServiceLinks: false
securityContext:
  {{- toYaml .c.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .c.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .c.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .c.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .c.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The user's own containers: (list $consumer.c (list …)). They get the chart's security context. */}}
{{- define "consumer-fleet.extraContainers" -}}
{{- $own := pick (index . 0) "securityContext" -}}
{{- $containers := list -}}
{{- range index . 1 -}}
{{- $containers = append $containers (ternary . (merge (deepCopy .) $own) (hasKey . "securityContext")) -}}
{{- end -}}
{{- toYaml $containers -}}
{{- end -}}

{{/* The volume of the agent's socket. */}}
{{- define "consumer-fleet.statsdVolume" -}}
{{- $socket := .Values.statsd.socket -}}
{{- $ofNode := dict "hostPath" (dict "path" (dir $socket.path) "type" "DirectoryOrCreate") -}}
name: statsd
{{ toYaml (default $ofNode $socket.volume) }}
{{- end -}}

{{- define "consumer-fleet.topologySpread" -}}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "consumer-fleet.selector" .labelArguments | fromYaml)) -}}
{{- $constraints := list -}}
{{- range .c.topologySpreadConstraints -}}
{{- $constraints = append $constraints (ternary . (merge (deepCopy .) $own) (hasKey . "labelSelector")) -}}
{{- end -}}
{{- with $constraints }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- define "consumer-fleet.resources" -}}
{{- $memory := printf "%dMi" .memoryMi -}}
{{- $request := dig "requests" "memory" "" .c.resources -}}
{{- $limit := dig "limits" "memory" "" .c.resources -}}
{{- /* Kubernetes refuses a request above the limit. */ -}}
{{- $highest := ternary $request $memory (gt (include "consumer-fleet.quantityMi" (default "0" $request) | int) .memoryMi) -}}
{{- $missing := dict "requests" (dict "memory" (default $memory $limit)) "limits" (dict "memory" $highest) -}}
{{- $resources := merge (deepCopy .c.resources) $missing -}}
{{- range $kind := list "requests" "limits" -}}
{{- range $name, $quantity := get $resources $kind -}}
{{- /* null removes a default. */ -}}
{{- if kindIs "invalid" $quantity }}{{ $_ := unset (get $resources $kind) $name }}{{ end -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* All three check the age of the heartbeat; its presence alone says nothing. */}}
{{- define "consumer-fleet.probes" -}}
{{- $consumer := . -}}
{{- range $name := list "startup" "liveness" "readiness" -}}
{{- $probe := get $consumer.c.probes $name -}}
{{- if $probe.enabled }}
{{ $name }}Probe:
  exec:
    command:
      - sh
      - -c
      - |
        beat=$(stat -c %Y /tmp/consumer-health) || exit 1
        age=$(( $(date +%s) - beat ))
        test $age -le {{ int $consumer.c.heartbeat.freshnessSeconds }} || { echo "the last heartbeat was $age s ago"; exit 1; }
  periodSeconds: {{ int $probe.periodSeconds }}
  failureThreshold: {{ int $probe.failureThreshold }}
  timeoutSeconds: {{ int $probe.timeoutSeconds }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* An init container that keeps running: it starts before the consumer and ends after it. */}}
{{- define "consumer-fleet.exporter" -}}
{{- $exporter := .root.Values.exporter -}}
- name: statsd-exporter
  image: {{ include "consumer-fleet.image" (dict "image" $exporter.image "tag" "") }}
  imagePullPolicy: {{ $exporter.image.pullPolicy }}
  restartPolicy: Always
  args:
    - --web.listen-address=:{{ int $exporter.port }}
    - --statsd.listen-udp=127.0.0.1:9125
    - --statsd.listen-tcp=
    - --statsd.mapping-config=/etc/statsd-exporter/mapping.yaml
  ports:
    - name: metrics
      containerPort: {{ int $exporter.port }}
  resources:
    {{- toYaml $exporter.resources | nindent 4 }}
  securityContext:
    {{- toYaml .c.securityContext | nindent 4 }}
  volumeMounts:
    - name: statsd-mapping
      mountPath: /etc/statsd-exporter
      readOnly: true
{{- end -}}
