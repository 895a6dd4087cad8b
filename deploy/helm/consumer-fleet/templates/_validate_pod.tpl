{{/* The checks of what users add to pods: secrets, options, names and labels. */}}

{{/* Secrets belong in Secrets, and a value that the chart sets can't be set twice. */}}
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
{{- include "consumer-fleet.bad" (list $at $key (printf "the chart uses the name %q itself: use another name" .name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "consumer-fleet.validateLabels" (dict "report" .report "key" (printf "%s.podLabels" .place) "labels" $c.podLabels) -}}
{{- range $name, $_ := $c.podAnnotations -}}
{{- if has $name (list "checksum/config" "checksum/dsns" "checksum/statsd-mapping") -}}
{{- include "consumer-fleet.bad" (list $at "podAnnotations" (printf "%s is set by the chart: remove it" $name)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := $c.autoscaling.keda.triggerMetadata -}}
{{- if has $name (list "bootstrapServers" "consumerGroup" "topic" "lagThreshold" "activationLagThreshold" "sasl" "tls") -}}
{{- include "consumer-fleet.bad" (list $at "autoscaling.keda.triggerMetadata" (printf "%s is set by the chart: remove it, and use the value that sets it" $name)) -}}
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
{{- /* The program normalizes a variable's name like this. */ -}}
{{- $option := ternary (trimPrefix "CONSUMER_" .name | lower | replace "-" "_" | replace "." "_") "" (hasPrefix "CONSUMER_" .name) -}}
{{- $isSecret := regexMatch "^(upstream_dsn|saas_dsn|projects(_.*)?|kafka_config(_.*(password|passphrase|secret|key_pem).*)?)$" $option -}}
{{- if has .name $set -}}
{{- include "consumer-fleet.bad" (list $at "extraEnv" (printf "%s is set by the chart: remove it, and use the value that sets it" .name)) -}}
{{- else if $isSecret -}}
{{- if hasKey . "value" -}}
{{- include "consumer-fleet.bad" (list $at "extraEnv" (printf "%s contains a secret: read it from a Secret, with upstream, saas or kafka.sasl, or with valueFrom.secretKeyRef" .name)) -}}
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
{{- include "consumer-fleet.problem" (dict "report" $at.report "key" $at.key "text" (printf "%s: everyone who may list pods can read arguments: use the chart's value for this option (`config` if there is no other)" $option)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (dict "report" … "key" "…" "labels" (dict …)): selectors and other charts rely on the chart's own labels. */}}
{{- define "consumer-fleet.validateLabels" -}}
{{- $at := . -}}
{{- range $name, $_ := .labels -}}
{{- if regexMatch "^(app\\.kubernetes\\.io/(name|instance|component|version|managed-by)|helm\\.sh/chart)$" $name -}}
{{- include "consumer-fleet.problem" (dict "report" $at.report "key" $at.key "text" (printf "%s is set by the chart: remove it" $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
