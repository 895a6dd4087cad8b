{{/* The part of _validate.tpl that is about what users add to pods: secrets, options, names, labels. */}}

{{/* Secrets belong into Secrets, and what the chart sets can't be set twice. */}}
{{- define "consumer-fleet.validateContainers" -}}
{{- $at := . -}}
{{- $x := .consumer -}}
{{- $c := $x.c -}}
{{- include "consumer-fleet.validateVariables" . -}}
{{- include "consumer-fleet.validateArguments" (dict "report" .report "key" (printf "%s.extraArgs" .place) "arguments" $c.extraArgs "options" (keys $x.program.ownedOptions)) -}}
{{- range $key, $taken := dict
  "extraVolumes" (list "config" "tmp" "shm" "statsd" "statsd-mapping" "inspector-token")
  "initContainers" (list "consumer" "statsd-exporter" "doctor" "inspector")
  "extraContainers" (list "consumer" "statsd-exporter") -}}
{{- range get $c $key -}}
{{- if has .name $taken -}}
{{- include "consumer-fleet.bad" (list $at $key (printf "the chart has one called %q of its own: choose another name" .name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "consumer-fleet.validateLabels" (dict "report" .report "key" (printf "%s.podLabels" .place) "labels" $c.podLabels) -}}
{{- range $name, $_ := $c.podAnnotations -}}
{{- if has $name (list "checksum/config" "checksum/dsns" "checksum/statsd-mapping") -}}
{{- include "consumer-fleet.bad" (list $at "podAnnotations" (printf "%s is the chart's own: take it out" $name)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := $c.autoscaling.keda.triggerMetadata -}}
{{- if has $name (list "bootstrapServers" "consumerGroup" "topic" "lagThreshold" "activationLagThreshold" "sasl" "tls") -}}
{{- include "consumer-fleet.bad" (list $at "autoscaling.keda.triggerMetadata" (printf "%s is set by the chart already: take it out, and use the value that sets it" $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateVariables" -}}
{{- $at := . -}}
{{- $set := list -}}
{{- range (printf "%s%s" (include "consumer-fleet.env" .consumer) (include "consumer-fleet.memberEnv" .consumer)) | fromYamlArray -}}
{{- $set = append $set .name -}}
{{- end -}}
{{- range .consumer.c.extraEnv -}}
{{- /* As the program reads a variable's name. */ -}}
{{- $option := ternary (trimPrefix "CONSUMER_" .name | lower | replace "-" "_" | replace "." "_") "" (hasPrefix "CONSUMER_" .name) -}}
{{- $isSecret := regexMatch "^(upstream_dsn|saas_dsn|kafka_config(_.*(password|passphrase|secret|key_pem).*)?)$" $option -}}
{{- if has .name $set -}}
{{- include "consumer-fleet.bad" (list $at "extraEnv" (printf "%s is set by the chart already: take it out, and use the value that sets it" .name)) -}}
{{- else if $isSecret -}}
{{- if hasKey . "value" -}}
{{- include "consumer-fleet.bad" (list $at "extraEnv" (printf "%s holds a secret: take it from a Secret, by upstream, saas or kafka.sasl, or by valueFrom.secretKeyRef" .name)) -}}
{{- end -}}
{{- else if hasKey $at.consumer.program.ownedOptions $option -}}
{{- include "consumer-fleet.bad" (list $at "extraEnv" (printf "%s: %s" .name (get $at.consumer.program.ownedOptions $option))) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (dict "report" … "key" "…" "arguments" (list …) "options" (list …)): options that the chart sets. */}}
{{- define "consumer-fleet.validateArguments" -}}
{{- $at := . -}}
{{- $options := concat .options (list "config" "set") -}}
{{- range .arguments -}}
{{- $option := regexFind "^--[^=]+" . -}}
{{- if has ($option | trimPrefix "--" | replace "-" "_") $options -}}
{{- include "consumer-fleet.problem" (dict "report" $at.report "key" $at.key "text" (printf "%s: everybody who may list pods sees arguments, and the chart has a value for what it sets (`config`, if there is no other). Use that" $option)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (dict "report" … "key" "…" "labels" (dict …)): selectors and other charts rely on the chart's own. */}}
{{- define "consumer-fleet.validateLabels" -}}
{{- $at := . -}}
{{- range $name, $_ := .labels -}}
{{- if regexMatch "^(app\\.kubernetes\\.io/(name|instance|component|version|managed-by)|helm\\.sh/chart)$" $name -}}
{{- include "consumer-fleet.problem" (dict "report" $at.report "key" $at.key "text" (printf "%s is set by the chart already: take it out" $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
