{{- define "consumer-fleet.scaleTarget" -}}
apiVersion: apps/v1
kind: {{ ternary "StatefulSet" "Deployment" (eq .c.membership "static") }}
name: {{ .fullname }}
{{- end -}}

{{- define "consumer-fleet.horizontalPodAutoscaler" -}}
{{- $scaling := .c.autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "consumer-fleet.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    {{- include "consumer-fleet.scaleTarget" . | nindent 4 }}
  minReplicas: {{ int $scaling.minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    {{- if $scaling.hpa.metrics }}
    {{- toYaml $scaling.hpa.metrics | nindent 4 }}
    {{- else }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ int $scaling.hpa.targetCPUUtilizationPercentage }}
    {{- end }}
  {{- with $scaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "consumer-fleet.scaledObject" -}}
{{- $scaling := .c.autoscaling -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "consumer-fleet.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    {{- include "consumer-fleet.scaleTarget" . | nindent 4 }}
    envSourceContainerName: consumer
  minReplicaCount: {{ int $scaling.minReplicas }}
  maxReplicaCount: {{ .maxReplicas }}
  pollingInterval: {{ int $scaling.keda.pollingInterval }}
  cooldownPeriod: {{ int $scaling.keda.cooldownPeriod }}
  {{- with $scaling.behavior }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- toYaml . | nindent 8 }}
  {{- end }}
  triggers:
    {{- $consumer := . }}
    {{- range .lanes }}
    - type: kafka
      metadata:
        {{- include "consumer-fleet.kedaMetadata" (dict "c" $consumer.c "group" .group "physicalTopic" .physicalTopic) | nindent 8 }}
      {{- if include "consumer-fleet.hasTriggerAuthentication" $consumer }}
      authenticationRef:
        name: {{ $consumer.fullname }}
      {{- end }}
    {{- end }}
{{- end -}}

{{/* Metadata of KEDA's Kafka trigger. `triggerMetadata` overrides it as far as the checks allow. */}}
{{- define "consumer-fleet.kedaMetadata" -}}
{{- $keda := .c.autoscaling.keda -}}
{{- /* Applies while the group has no offset. With the program's `error`, all messages are lag. */ -}}
{{- $reset := ternary "latest" "earliest" (eq (toString .c.config.auto_offset_reset) "latest") -}}
{{- $metadata := dict "offsetResetPolicy" $reset -}}
{{- if .c.allowStandby }}{{ $_ := set $metadata "allowIdleConsumers" "true" }}{{ end -}}
{{- $_ := mergeOverwrite $metadata $keda.triggerMetadata -}}
{{- $_ := set $metadata "bootstrapServers" (join "," .c.kafka.bootstrapServers) -}}
{{- $_ := set $metadata "consumerGroup" .group -}}
{{- $_ := set $metadata "topic" .physicalTopic -}}
{{- $_ := set $metadata "lagThreshold" (int64 $keda.lagThreshold | toString) -}}
{{- $_ := set $metadata "activationLagThreshold" (int64 $keda.activationLagThreshold | toString) -}}
{{- with include "consumer-fleet.kedaSasl" . }}{{ $_ := set $metadata "sasl" . }}{{ end -}}
{{- if contains "SSL" .c.kafka.securityProtocol }}{{ $_ := set $metadata "tls" "enable" }}{{ end -}}
{{- toYaml $metadata -}}
{{- end -}}

{{/* KEDA's names of the mechanisms. */}}
{{- define "consumer-fleet.kedaSasl" -}}
{{- get (dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512" "OAUTHBEARER" "oauthbearer") .c.kafka.sasl.mechanism -}}
{{- end -}}

{{- define "consumer-fleet.hasTriggerAuthentication" -}}
{{- $kafka := .c.kafka -}}
{{- if or $kafka.sasl.mechanism $kafka.tls.ca.existingSecret.name $kafka.tls.ca.existingConfigMap.name $kafka.tls.client.existingSecret.name -}}
true
{{- end -}}
{{- end -}}

{{/* Credentials from the same Secrets that the pods use. */}}
{{- define "consumer-fleet.triggerAuthentication" -}}
{{- $kafka := .c.kafka -}}
{{- $sasl := $kafka.sasl -}}
{{- $secrets := list -}}
{{- $variables := list -}}
{{- $configMaps := list -}}
{{- if $sasl.mechanism -}}
{{- $secrets = append $secrets (dict "parameter" "password" "name" $sasl.existingSecret.name "key" $sasl.existingSecret.passwordKey) -}}
{{- if $sasl.existingSecret.usernameKey -}}
{{- $secrets = append $secrets (dict "parameter" "username" "name" $sasl.existingSecret.name "key" $sasl.existingSecret.usernameKey) -}}
{{- else -}}
{{- $name := ternary "CONSUMER_KAFKA_CONFIG_SASL_OAUTHBEARER_CLIENT_ID" "CONSUMER_KAFKA_CONFIG_SASL_USERNAME" (eq $sasl.mechanism "OAUTHBEARER") -}}
{{- $variables = append $variables (dict "parameter" "username" "name" $name "containerName" "consumer") -}}
{{- end -}}
{{- end -}}
{{- with $kafka.tls.ca -}}
{{- if .existingSecret.name -}}
{{- $secrets = append $secrets (dict "parameter" "ca" "name" .existingSecret.name "key" .existingSecret.key) -}}
{{- else if .existingConfigMap.name -}}
{{- $configMaps = append $configMaps (dict "parameter" "ca" "name" .existingConfigMap.name "key" .existingConfigMap.key) -}}
{{- end -}}
{{- end -}}
{{- with $kafka.tls.client.existingSecret -}}
{{- if .name -}}
{{- $secrets = append $secrets (dict "parameter" "cert" "name" .name "key" .certKey) -}}
{{- $secrets = append $secrets (dict "parameter" "key" "name" .name "key" .keyKey) -}}
{{- with .keyPasswordKey -}}
{{- $secrets = append $secrets (dict "parameter" "keyPassword" "name" $kafka.tls.client.existingSecret.name "key" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $sasl.mechanism "OAUTHBEARER" -}}
{{- /* Parameters that KEDA accepts only in a TriggerAuthentication, although they are not secret. */ -}}
{{- $configMaps = append $configMaps (dict "parameter" "oauthTokenEndpointUri" "name" .fullname "key" "oauth-token-endpoint-url") -}}
{{- if $sasl.oauthbearer.scope -}}
{{- $configMaps = append $configMaps (dict "parameter" "scopes" "name" .fullname "key" "oauth-scope") -}}
{{- end -}}
{{- if $sasl.oauthbearer.extensions -}}
{{- $configMaps = append $configMaps (dict "parameter" "oauthExtensions" "name" .fullname "key" "oauth-extensions") -}}
{{- end -}}
{{- end -}}
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  {{- include "consumer-fleet.metadata" . | nindent 2 }}
spec:
  {{- with $secrets }}
  secretTargetRef:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $variables }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $configMaps }}
  configMapTargetRef:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
