{{/*
Ports that the consumers connect to, as far as the values say: {kafka: [9092], destinations: [443],
services: [1218]}. A DSN from a Secret is assumed to be https on its default port. Services are Snuba and
the token endpoint.
*/}}
{{- define "consumer-fleet.egressPorts" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $kafka := $policy.kafkaPorts -}}
{{- $destinations := $policy.destinationPorts -}}
{{- $services := list -}}
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
{{- $destinations = append $destinations (include "consumer-fleet.urlPort" $destination.dsn | int) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $consumer.c.kafka.sasl.mechanism "OAUTHBEARER" -}}
{{- $services = append $services (include "consumer-fleet.urlPort" $consumer.c.kafka.sasl.oauthbearer.tokenEndpointUrl | int) -}}
{{- end -}}
{{- with $consumer.c.config.snuba_url -}}
{{- $services = append $services (include "consumer-fleet.urlPort" . | int) -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "kafka" ($kafka | uniq) "destinations" ($destinations | uniq) "services" ($services | uniq)) -}}
{{- end -}}

{{/* A URL's port, or its scheme's default. Not by urlParse, which prints a URL that it can't parse. */}}
{{- define "consumer-fleet.urlPort" -}}
{{- $host := regexReplaceAll "^[a-z]+://([^/@]*@)?([^/?#]*).*$" . "${2}" -}}
{{- regexFind ":[0-9]+$" $host | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https:" .)) -}}
{{- end -}}
