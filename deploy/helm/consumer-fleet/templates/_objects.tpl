{{/* The metadata of a consumer's object. */}}
{{- define "consumer-fleet.metadata" -}}
name: {{ .fullname }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "consumer-fleet.labels" .labelArguments | nindent 2 }}
{{- end -}}

{{- define "consumer-fleet.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "consumer-fleet.metadata" . | nindent 2 }}
data:
  config.yml: |
    {{- include "consumer-fleet.config" . | nindent 4 }}
  {{- if and (eq .autoscaler "keda") (eq .c.kafka.sasl.mechanism "OAUTHBEARER") }}
  {{- with .c.kafka.sasl.oauthbearer }}
  # For KEDA, which takes them from here alone.
  oauth-token-endpoint-url: {{ .tokenEndpointUrl | quote }}
  oauth-scope: {{ .scope | quote }}
  oauth-extensions: {{ .extensions | quote }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "consumer-fleet.secret" -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "consumer-fleet.metadata" . | nindent 2 }}
type: Opaque
stringData:
  {{- include "consumer-fleet.dsns" . | nindent 2 }}
{{- end -}}

{{/* A Deployment, or a StatefulSet for static membership, because its pods keep their names. */}}
{{- define "consumer-fleet.workload" -}}
{{- $c := .c -}}
{{- $static := eq $c.membership "static" -}}
apiVersion: apps/v1
kind: {{ ternary "StatefulSet" "Deployment" $static }}
metadata:
  {{- include "consumer-fleet.metadata" . | nindent 2 }}
  {{- with $c.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if not .autoscaler }}
  replicas: {{ int $c.replicas }}
  {{- end }}
  revisionHistoryLimit: {{ int $c.rollout.revisionHistoryLimit }}
  minReadySeconds: {{ int $c.rollout.minReadySeconds }}
  {{- if $static }}
  # Required; there is no such Service, since nothing connects to these pods.
  serviceName: {{ .fullname }}
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  {{- else }}
  progressDeadlineSeconds: {{ int $c.rollout.progressDeadlineSeconds }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: {{ $c.rollout.maxSurge }}
      maxUnavailable: {{ $c.rollout.maxUnavailable }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "consumer-fleet.selector" .labelArguments | nindent 6 }}
  template:
    {{- include "consumer-fleet.pod" . | nindent 4 }}
{{- end -}}

{{- define "consumer-fleet.podDisruptionBudget" -}}
{{- $budget := .c.podDisruptionBudget -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "consumer-fleet.metadata" . | nindent 2 }}
spec:
  {{- if kindIs "invalid" $budget.minAvailable }}
  maxUnavailable: {{ $budget.maxUnavailable }}
  {{- else }}
  minAvailable: {{ $budget.minAvailable }}
  {{- end }}
  unhealthyPodEvictionPolicy: {{ $budget.unhealthyPodEvictionPolicy }}
  selector:
    matchLabels:
      {{- include "consumer-fleet.selector" .labelArguments | nindent 6 }}
{{- end -}}
