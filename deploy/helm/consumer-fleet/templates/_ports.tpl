{{/*
Ports of all consumers' brokers and destinations, as far as the values say:
{kafka: [9092], destinations: [443]}. A DSN out of a Secret is taken to be https on its usual port.
*/}}
{{- define "consumer-fleet.egressPorts" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $kafka := $policy.kafkaPorts -}}
{{- $destinations := $policy.destinationPorts -}}
{{- range $consumer := .consumers -}}
{{- if not $policy.kafkaPorts -}}
{{- range $consumer.c.kafka.bootstrapServers -}}
{{- $kafka = append $kafka (regexFind "[0-9]+$" . | int) -}}
{{- end -}}
{{- end -}}
{{- if not $policy.destinationPorts -}}
{{- range $destination := list $consumer.c.upstream $consumer.c.saas -}}
{{- if $destination.existingSecret.name -}}
{{- $destinations = append $destinations 443 -}}
{{- else if $destination.dsn -}}
{{- $url := urlParse $destination.dsn -}}
{{- $usual := ternary "443" "80" (eq $url.scheme "https") -}}
{{- $destinations = append $destinations (default $usual (regexFind ":[0-9]+$" $url.host | trimPrefix ":") | int) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $consumer.c.kafka.sasl.mechanism "OAUTHBEARER" -}}
{{- $url := urlParse $consumer.c.kafka.sasl.oauthbearer.tokenEndpointUrl -}}
{{- $usual := ternary "443" "80" (eq $url.scheme "https") -}}
{{- $destinations = append $destinations (default $usual (regexFind ":[0-9]+$" $url.host | trimPrefix ":") | int) -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "kafka" ($kafka | uniq) "destinations" ($destinations | uniq)) -}}
{{- end -}}
