{{/*
Computes everything about every enabled consumer, once: (dict "root" $ "into" (dict)).
`into` gets an entry per consumer, as consumer-fleet.consumer makes it.
*/}}
{{- define "consumer-fleet.consumers" -}}
{{- $root := .root -}}
{{- $into := .into -}}
{{- $program := $root.Files.Get "files/program.yaml" | fromYaml -}}
{{- $shared := pick $root.Values "kafka" "upstream" "saas" "destinationCa" -}}
{{- range $name, $given := $root.Values.consumers -}}
{{- $c := mergeOverwrite (deepCopy $shared) (deepCopy $root.Values.defaults) (deepCopy (default dict $given)) -}}
{{- if and $c.enabled (not (kindIs "invalid" $given)) -}}
{{- $consumer := dict "root" $root "program" $program "name" $name "given" $given "c" $c -}}
{{- include "consumer-fleet.consumer" $consumer -}}
{{- $_ := set $into $name $consumer -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Adds to a consumer (root, program, name, its values as given, and with the defaults as c):
fullname, topic, physicalTopic, group, minReplicas, maxReplicas, autoscaler, kafkaConfig, memoryMi;
and lanes, which has the topic, physicalTopic and group of each of its topics.
*/}}
{{- define "consumer-fleet.consumer" -}}
{{- $c := .c -}}
{{- $topic := default .name $c.topic -}}
{{- $_ := set . "fullname" (printf "%s-%s" (include "consumer-fleet.fullname" .root) .name) -}}
{{- $_ := set . "topic" $topic -}}
{{- $_ := set . "physicalTopic" (default $topic $c.physicalTopic) -}}
{{- $_ := set . "group" (default (printf "%s%s" .program.groupPrefix $topic) $c.group) -}}
{{- $lanes := list (pick . "topic" "physicalTopic" "group") -}}
{{- if $c.topics -}}
{{- $lanes = list -}}
{{- $names := default dict $c.config.snuba_topic_map -}}
{{- $prefix := .program.groupPrefix -}}
{{- range $c.topics -}}
{{- $lanes = append $lanes (dict "topic" . "physicalTopic" (default . (get $names .)) "group" (printf "%s%s" $prefix .)) -}}
{{- end -}}
{{- end -}}
{{- $_ := set . "lanes" $lanes -}}
{{- $_ := set . "labelArguments" (dict "root" .root "component" .name) -}}
{{- $scaling := $c.autoscaling -}}
{{- $autoscaler := ternary "keda" (ternary "hpa" "" $scaling.hpa.enabled) $scaling.keda.enabled -}}
{{- $_ := set . "autoscaler" $autoscaler -}}
{{- $max := ternary (default $c.partitions $scaling.maxReplicas) $c.replicas (ne $autoscaler "") -}}
{{- $_ := set . "maxReplicas" (int $max) -}}
{{- $_ := set . "minReplicas" (ternary $scaling.minReplicas $c.replicas (ne $autoscaler "") | int) -}}
{{- $_ := set . "kafkaConfig" (include "consumer-fleet.kafkaConfig" . | fromYaml) -}}
{{- $_ := set . "memoryMi" (include "consumer-fleet.memoryMi" . | int) -}}
{{- end -}}

{{/* librdkafka's properties, without secrets. */}}
{{- define "consumer-fleet.kafkaConfig" -}}
{{- $kafka := .c.kafka -}}
{{- $config := dict -}}
{{- if ne $kafka.securityProtocol "PLAINTEXT" -}}
{{- $_ := set $config "security.protocol" $kafka.securityProtocol -}}
{{- end -}}
{{- with $kafka.sasl.mechanism -}}
{{- $_ := set $config "sasl.mechanism" . -}}
{{- end -}}
{{- if eq $kafka.sasl.mechanism "OAUTHBEARER" -}}
{{- $oauth := $kafka.sasl.oauthbearer -}}
{{- $_ := set $config "sasl.oauthbearer.method" "oidc" -}}
{{- $_ := set $config "sasl.oauthbearer.token.endpoint.url" $oauth.tokenEndpointUrl -}}
{{- with $oauth.scope }}{{ $_ := set $config "sasl.oauthbearer.scope" . }}{{ end -}}
{{- with $oauth.extensions }}{{ $_ := set $config "sasl.oauthbearer.extensions" . }}{{ end -}}
{{- end -}}
{{- if or $kafka.tls.ca.existingSecret.name $kafka.tls.ca.existingConfigMap.name -}}
{{- $_ := set $config "ssl.ca.location" "/etc/consumer-fleet/kafka-ca.crt" -}}
{{- end -}}
{{- if $kafka.tls.client.existingSecret.name -}}
{{- $_ := set $config "ssl.certificate.location" "/etc/consumer-fleet/kafka-client.crt" -}}
{{- $_ := set $config "ssl.key.location" "/etc/consumer-fleet/kafka-client.key" -}}
{{- end -}}
{{- if eq .c.membership "kip848" -}}
{{- $_ := set $config "group.protocol" "consumer" -}}
{{- else -}}
{{- $_ := set $config "partition.assignment.strategy" .c.assignmentStrategy -}}
{{- end -}}
{{- if eq .c.membership "static" -}}
{{- /* A pod must be back within this time, or its partitions move. */ -}}
{{- $_ := set $config "session.timeout.ms" 60000 -}}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy $kafka.rdkafka)) -}}
{{- end -}}

{{/*
Memory of a pod in MiB: the need that `consumer doctor` computes plus a quarter, and the volumes in memory.
*/}}
{{- define "consumer-fleet.memoryMi" -}}
{{- $memory := .program.memoryMi -}}
{{- $config := .c.config -}}
{{- $perWorker := $memory.worker -}}
{{- $bestEffort := int (default .program.defaults.best_effort_budget_mb $config.best_effort_budget_mb) -}}
{{- range $name := list "upstream" "saas" -}}
{{- if eq (get $config (printf "%s_delivery" $name) | toString) "best-effort" -}}
{{- $perWorker = add $perWorker $bestEffort -}}
{{- end -}}
{{- end -}}
{{- $inFlight := int (default .program.defaults.max_in_flight_mb $config.max_in_flight_mb) -}}
{{- $needed := add $memory.parent (mul 2 $inFlight) (mul .c.workers $perWorker) -}}
{{- $volumes := add (include "consumer-fleet.quantityMi" .c.scratch.tmpSizeLimit) (include "consumer-fleet.shmMi" .) -}}
{{- add (div (mul 5 $needed) 4) $volumes -}}
{{- end -}}

{{/* A quantity of memory in MiB, rounded up: 2 for "1.5Mi". */}}
{{- define "consumer-fleet.quantityMi" -}}
{{- $quantity := ternary . (printf "%f" (float64 .)) (kindIs "string" .) -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- divf (mulf (regexFind "^[0-9.]+" $quantity) (get $units (regexFind "[A-Za-z]*$" $quantity))) 1048576 | ceil | int64 -}}
{{- end -}}

{{- define "consumer-fleet.shmMi" -}}
{{- mul .c.scratch.shmPerProcessMi (add 1 .c.workers) -}}
{{- end -}}

{{/* The program's own configuration file. */}}
{{- define "consumer-fleet.config" -}}
{{- $c := .c -}}
{{- $config := deepCopy $c.config -}}
{{- if $c.topics -}}
{{- $_ := set $config "topic" $c.topics -}}
{{- else -}}
{{- $_ := set $config "topic" .topic -}}
{{- with $c.physicalTopic }}{{ $_ := set $config "physical_topic" . }}{{ end -}}
{{- $_ := set $config "group" .group -}}
{{- end -}}
{{- $_ := set $config "bootstrap_servers" $c.kafka.bootstrapServers -}}
{{- with .kafkaConfig }}{{ $_ := set $config "kafka_config" . }}{{ end -}}
{{- $_ := set $config "workers" $c.workers -}}
{{- $_ := set $config "shutdown_timeout" $c.shutdownTimeoutSeconds -}}
{{- $_ := set $config "healthcheck_file" "/tmp/consumer-health" -}}
{{- if or $c.destinationCa.existingSecret.name $c.destinationCa.existingConfigMap.name -}}
{{- $_ := set $config "ca_file" "/etc/consumer-fleet/destination-ca.crt" -}}
{{- end -}}
{{- $statsd := .root.Values.statsd -}}
{{- if .root.Values.exporter.enabled -}}
{{- $_ := set $config "statsd_port" 9125 -}}
{{- else if eq $statsd.target "socket" -}}
{{- $_ := set $config "statsd_socket_path" $statsd.socket.path -}}
{{- else if ne $statsd.target "none" -}}
{{- if eq $statsd.target "host" }}{{ $_ := set $config "statsd_host" $statsd.host }}{{ end -}}
{{- $_ := set $config "statsd_port" $statsd.port -}}
{{- end -}}
{{- $tags := merge (deepCopy (default dict $config.metrics_tags)) (dict "consumer" .name) -}}
{{- $_ := set $config "metrics_tags" $tags -}}
{{- if not (hasKey $config "log_format") }}{{ $_ := set $config "log_format" "json" }}{{ end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* DSNs set as values: the content of the chart's own Secret, empty if there are none. */}}
{{- define "consumer-fleet.dsns" -}}
{{- $dsns := dict -}}
{{- with .c.upstream.dsn }}{{ $_ := set $dsns "upstream-dsn" . }}{{ end -}}
{{- with .c.saas.dsn }}{{ $_ := set $dsns "saas-dsn" . }}{{ end -}}
{{- with $dsns }}{{ toYaml . }}{{ end -}}
{{- end -}}
