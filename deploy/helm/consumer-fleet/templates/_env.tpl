{{/* One variable from a Secret: (dict "variable" "…" "secret" "…" "key" "…"). */}}
{{- define "consumer-fleet.secretVariable" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{ end -}}

{{/* The variables that every command of the program needs for a consumer. */}}
{{- define "consumer-fleet.env" -}}
{{- $consumer := . -}}
- name: CONSUMER_CONF
  value: /etc/consumer-fleet/config.yml
{{ range $name := list "upstream" "saas" -}}
{{- $destination := get $consumer.c $name -}}
{{- $variable := printf "CONSUMER_%s_DSN" (upper $name) -}}
{{- if $destination.existingSecret.name -}}
{{- include "consumer-fleet.secretVariable" (dict "variable" $variable "secret" $destination.existingSecret.name "key" $destination.existingSecret.key) -}}
{{- else if $destination.dsn -}}
{{- include "consumer-fleet.secretVariable" (dict "variable" $variable "secret" $consumer.fullname "key" (printf "%s-dsn" $name)) -}}
{{- end -}}
{{- end -}}
{{- $sasl := .c.kafka.sasl -}}
{{- $oauth := eq $sasl.mechanism "OAUTHBEARER" -}}
{{- $user := ternary "CONSUMER_KAFKA_CONFIG_SASL_OAUTHBEARER_CLIENT_ID" "CONSUMER_KAFKA_CONFIG_SASL_USERNAME" $oauth -}}
{{- $password := ternary "CONSUMER_KAFKA_CONFIG_SASL_OAUTHBEARER_CLIENT_SECRET" "CONSUMER_KAFKA_CONFIG_SASL_PASSWORD" $oauth -}}
{{- if $sasl.mechanism -}}
{{- if $sasl.existingSecret.usernameKey -}}
{{- include "consumer-fleet.secretVariable" (dict "variable" $user "secret" $sasl.existingSecret.name "key" $sasl.existingSecret.usernameKey) -}}
{{- else if $sasl.username -}}
- name: {{ $user }}
  value: {{ $sasl.username | quote }}
{{ end -}}
{{- include "consumer-fleet.secretVariable" (dict "variable" $password "secret" $sasl.existingSecret.name "key" $sasl.existingSecret.passwordKey) -}}
{{- end -}}
{{- $client := .c.kafka.tls.client.existingSecret -}}
{{- if $client.keyPasswordKey -}}
{{- include "consumer-fleet.secretVariable" (dict "variable" "CONSUMER_KAFKA_CONFIG_SSL_KEY_PASSWORD" "secret" $client.name "key" $client.keyPasswordKey) -}}
{{- end -}}
{{- end -}}

{{/* Variables of consuming pods only: the member's identity, and the metrics' target. */}}
{{- define "consumer-fleet.memberEnv" -}}
{{- if eq .c.membership "static" -}}
- name: CONSUMER_KAFKA_CONFIG_GROUP_INSTANCE_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{ end -}}
{{- if .root.Values.exporter.enabled -}}
- name: CONSUMER_STATSD_HOST
  value: 127.0.0.1
{{ else if eq .root.Values.statsd.target "nodeIP" -}}
- name: CONSUMER_STATSD_HOST
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
{{ end -}}
{{- end -}}

{{/* The folder /etc/consumer-fleet: the configuration, and files from Secrets. */}}
{{- define "consumer-fleet.configVolume" -}}
{{- $tls := .c.kafka.tls -}}
name: config
projected:
  # Readable by the pod's group, which is fsGroup.
  defaultMode: 0440
  sources:
    - configMap:
        name: {{ .fullname }}
        items:
          - key: config.yml
            path: config.yml
    {{- with include "consumer-fleet.caSource" (dict "ca" $tls.ca "path" "kafka-ca.crt") }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $tls.client.existingSecret }}
    {{- if .name }}
    - secret:
        name: {{ .name }}
        items:
          - key: {{ .certKey }}
            path: kafka-client.crt
          - key: {{ .keyKey }}
            path: kafka-client.key
    {{- end }}
    {{- end }}
    {{- with include "consumer-fleet.caSource" (dict "ca" .c.destinationCa "path" "destination-ca.crt") }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "consumer-fleet.caSource" -}}
{{- if .ca.existingSecret.name -}}
- secret:
    name: {{ .ca.existingSecret.name }}
    items:
      - key: {{ .ca.existingSecret.key }}
        path: {{ .path }}
{{- else if .ca.existingConfigMap.name -}}
- configMap:
    name: {{ .ca.existingConfigMap.name }}
    items:
      - key: {{ .ca.existingConfigMap.key }}
        path: {{ .path }}
{{- end -}}
{{- end -}}
