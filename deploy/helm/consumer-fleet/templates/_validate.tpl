{{/*
What the schema can't see: values that are each fine but not together. Everything that is wrong is
said at once, each with its key, what is wrong, and what to do. `report` is (dict "problems" list).
*/}}
{{- define "consumer-fleet.validate" -}}
{{- $root := .root -}}
{{- $report := dict "problems" list -}}
{{- if not .consumers -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "consumers" "text" "no consumer is enabled: add one, for example `consumers: {events: {}}`") -}}
{{- end -}}
{{- range $name, $consumer := .consumers -}}
{{- $at := dict "report" $report "consumer" $consumer "place" (printf "consumers.%s" $name) -}}
{{- range $part := list "Names" "Destinations" "Kafka" "Rdkafka" "Config" "Timing" "Scale" "Budget" "Containers" -}}
{{- include (printf "consumer-fleet.validate%s" $part) $at -}}
{{- end -}}
{{- end -}}
{{- include "consumer-fleet.validateGroups" (dict "report" $report "consumers" .consumers) -}}
{{- include "consumer-fleet.validateRelease" (dict "report" $report "root" $root "consumers" .consumers) -}}
{{- if $report.problems -}}
{{- fail (printf "these values can't work:\n\n  - %s\n" (join "\n  - " (uniq $report.problems))) -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.problem" -}}
{{- $_ := set .report "problems" (append .report.problems (printf "%s: %s" .key .text)) -}}
{{- end -}}

{{/* A problem of one consumer, or of what all share: (list $at "key" "text"). */}}
{{- define "consumer-fleet.bad" -}}
{{- $at := index . 0 -}}
{{- $key := index . 1 -}}
{{- $first := regexFind "^[^.]+" $key -}}
{{- $shared := and (has $first (list "kafka" "upstream" "saas" "destinationCa")) (not (hasKey $at.consumer.given $first)) -}}
{{- include "consumer-fleet.problem" (dict "report" $at.report "key" (ternary $key (printf "%s.%s" $at.place $key) $shared) "text" (index . 2)) -}}
{{- end -}}

{{- define "consumer-fleet.validateNames" -}}
{{- $x := .consumer -}}
{{- if not (has $x.topic $x.program.consumers) -}}
{{- include "consumer-fleet.bad" (list . "topic" (printf "the program has no consumer %q; it has %s. An entry with a name of its own needs `topic: …`, and `physicalTopic: …` where the brokers call the topic otherwise" $x.topic (join ", " $x.program.consumers))) -}}
{{- end -}}
{{- if has $x.name (list "inspector" "dashboard" "statsd-mapping" "test") -}}
{{- include "consumer-fleet.problem" (dict "report" .report "key" .place "text" (printf "the chart has objects called %q of its own: give the entry another name, and name the program's consumer by `topic: …`" $x.name)) -}}
{{- end -}}
{{- if gt (len $x.fullname) 52 -}}
{{- include "consumer-fleet.problem" (dict "report" .report "key" .place "text" (printf "its objects would be called %q, which is longer than the 52 characters that leave room for a pod's suffix: shorten the entry's name, or set fullnameOverride" $x.fullname)) -}}
{{- end -}}
{{- $reserved := has $x.group $x.program.reservedGroups -}}
{{- range $x.program.reservedGroupPrefixes -}}
{{- if hasPrefix . $x.group }}{{ $reserved = true }}{{ end -}}
{{- end -}}
{{- if $reserved -}}
{{- include "consumer-fleet.bad" (list . "group" (printf "%q belongs to Sentry or Snuba, and this consumer would take partitions away from it: choose another, for example %q" $x.group (printf "fleet-%s" $x.group))) -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateDestinations" -}}
{{- $at := . -}}
{{- $x := .consumer -}}
{{- range $name := list "upstream" "saas" -}}
{{- $destination := get $x.c $name -}}
{{- if and $destination.dsn $destination.existingSecret.name -}}
{{- include "consumer-fleet.bad" (list $at (printf "%s.dsn" $name) (printf "%s.existingSecret.name is set too: keep one of the two" $name)) -}}
{{- else if and $destination.dsn (not (regexMatch "^https?://[^@/:]+(:[^@/]*)?@[^@/]+(/.*)?/[0-9]+$" $destination.dsn)) -}}
{{- include "consumer-fleet.bad" (list $at (printf "%s.dsn" $name) "this is no DSN: https://PUBLIC_KEY@HOST/PROJECT_ID is expected") -}}
{{- end -}}
{{- end -}}
{{- $saas := or $x.c.saas.dsn $x.c.saas.existingSecret.name -}}
{{- $upstream := or $x.c.upstream.dsn $x.c.upstream.existingSecret.name -}}
{{- $rate := default 0.0 $x.c.config.store_use_relay_dsn_sample_rate | float64 -}}
{{- if not (or $saas $upstream) -}}
{{- include "consumer-fleet.bad" (list . "upstream" "there is no DSN to deliver to: set upstream.existingSecret.name (or upstream.dsn)") -}}
{{- else if and $saas (eq $rate 0.0) -}}
{{- include "consumer-fleet.bad" (list . "config.store_use_relay_dsn_sample_rate" "a saas DSN is given, but the share of messages that it gets is 0: set the share, for example 1") -}}
{{- else if and $saas (not $upstream) (lt $rate 1.0) -}}
{{- include "consumer-fleet.bad" (list . "config.store_use_relay_dsn_sample_rate" (printf "saas is the only destination and gets just the share %g: the other messages would go nowhere. Set it to 1, or give an upstream" $rate)) -}}
{{- end -}}
{{- if and $x.c.destinationCa.existingSecret.name $x.c.destinationCa.existingConfigMap.name -}}
{{- include "consumer-fleet.bad" (list . "destinationCa" "existingSecret and existingConfigMap exclude each other: keep one of the two") -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateConfig" -}}
{{- $at := . -}}
{{- $config := .consumer.c.config -}}
{{- range $name, $instead := .consumer.program.ownedOptions -}}
{{- if hasKey $config $name -}}
{{- include "consumer-fleet.bad" (list $at (printf "config.%s" $name) $instead) -}}
{{- end -}}
{{- end -}}
{{- if and $config.no_dlq $config.dlq_topic -}}
{{- include "consumer-fleet.bad" (list . "config.dlq_topic" "no_dlq is on: there is no dead letter topic to name. Keep one of the two") -}}
{{- end -}}
{{- $connect := default .consumer.program.defaults.connect_timeout_s $config.connect_timeout_s | float64 -}}
{{- $request := default .consumer.program.defaults.request_timeout_s $config.request_timeout_s | float64 -}}
{{- if gt $connect $request -}}
{{- include "consumer-fleet.bad" (list . "config.connect_timeout_s" (printf "%g is longer than request_timeout_s (%g), which it is a part of" $connect $request)) -}}
{{- end -}}
{{- if and .consumer.root.Values.exporter.enabled (ne (default .consumer.program.defaults.metrics_prefix $config.metrics_prefix) .consumer.program.defaults.metrics_prefix) -}}
{{- include "consumer-fleet.bad" (list . "config.metrics_prefix" "the exporter knows the metrics by their usual prefix: take it out, or set exporter.enabled to false") -}}
{{- end -}}
{{- if and .consumer.root.Values.exporter.enabled (ne (dig "consumer" .consumer.name (default dict $config.metrics_tags) | toString) .consumer.name) -}}
{{- include "consumer-fleet.bad" (list . "config.metrics_tags.consumer" "alerts and the dashboard know a consumer by its entry's name: take it out, or set exporter.enabled to false") -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateScale" -}}
{{- $x := .consumer -}}
{{- $c := $x.c -}}
{{- $scaling := $c.autoscaling -}}
{{- if and $scaling.keda.enabled $scaling.hpa.enabled -}}
{{- include "consumer-fleet.bad" (list . "autoscaling" "keda.enabled and hpa.enabled exclude each other: KEDA makes an HPA of its own. Keep one of the two") -}}
{{- end -}}
{{- if $x.autoscaler -}}
{{- if not $x.maxReplicas -}}
{{- include "consumer-fleet.bad" (list . "autoscaling.maxReplicas" "it is not set, and neither is partitions, its default: set one of the two") -}}
{{- else if gt (int $scaling.minReplicas) $x.maxReplicas -}}
{{- include "consumer-fleet.bad" (list . "autoscaling.minReplicas" (printf "%d is more than maxReplicas (%d): lower it" (int $scaling.minReplicas) $x.maxReplicas)) -}}
{{- end -}}
{{- if and (eq (int $scaling.minReplicas) 0) (eq $x.autoscaler "hpa") -}}
{{- include "consumer-fleet.bad" (list . "autoscaling.minReplicas" "an HPA can't go down to 0: set it to 1 or more, or use autoscaling.keda") -}}
{{- end -}}
{{- if and (eq $x.autoscaler "hpa") (not $scaling.hpa.metrics) (not (dig "requests" "cpu" "" $c.resources)) -}}
{{- include "consumer-fleet.bad" (list . "resources.requests.cpu" "the HPA scales by the share of it that is used: set it") -}}
{{- end -}}
{{- else -}}
{{- $given := default dict $x.given.autoscaling -}}
{{- /* An entry that says `enabled: false` may keep its limits for later. */ -}}
{{- $isOff := or (hasKey (default dict $given.keda) "enabled") (hasKey (default dict $given.hpa) "enabled") -}}
{{- if and (or (hasKey $given "minReplicas") (hasKey $given "maxReplicas")) (not $isOff) -}}
{{- include "consumer-fleet.bad" (list . "autoscaling" "minReplicas and maxReplicas do nothing without an autoscaler: set keda.enabled or hpa.enabled to true, or set replicas instead") -}}
{{- end -}}
{{- end -}}
{{- if and $c.partitions (not $c.allowStandby) (gt $x.maxReplicas (int $c.partitions)) -}}
{{- $key := ternary "autoscaling.maxReplicas" "replicas" (ne $x.autoscaler "") -}}
{{- include "consumer-fleet.bad" (list . $key (printf "%d pods for %d partitions: the others would have nothing to do. Lower it, or set allowStandby to true if they are meant as standbys" $x.maxReplicas (int $c.partitions))) -}}
{{- end -}}
{{- if eq $c.membership "static" -}}
{{- if ne (toString $c.rollout.maxSurge) "0" -}}
{{- include "consumer-fleet.bad" (list . "rollout.maxSurge" "with membership static a pod is replaced by one of its own name, so there is none beyond: set it to 0") -}}
{{- end -}}
{{- else if and (has (toString $c.rollout.maxSurge) (list "0" "0%")) (has (toString $c.rollout.maxUnavailable) (list "0" "0%")) -}}
{{- include "consumer-fleet.bad" (list . "rollout.maxUnavailable" "it and maxSurge are both 0: no pod could ever be replaced. Set one of the two to 1") -}}
{{- end -}}
{{- if ge (int $c.rollout.minReadySeconds) (int $c.rollout.progressDeadlineSeconds) -}}
{{- include "consumer-fleet.bad" (list . "rollout.progressDeadlineSeconds" "it has to be more than minReadySeconds, or every rollout fails") -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateBudget" -}}
{{- $budget := .consumer.c.podDisruptionBudget -}}
{{- $hasMin := not (kindIs "invalid" $budget.minAvailable) -}}
{{- $hasMax := not (kindIs "invalid" $budget.maxUnavailable) -}}
{{- if $budget.enabled -}}
{{- if and $hasMin $hasMax -}}
{{- include "consumer-fleet.bad" (list . "podDisruptionBudget.minAvailable" "maxUnavailable is set too, and Kubernetes takes one of the two: set maxUnavailable to null") -}}
{{- else if not (or $hasMin $hasMax) -}}
{{- include "consumer-fleet.bad" (list . "podDisruptionBudget.maxUnavailable" "neither it nor minAvailable is set: set one, or podDisruptionBudget.enabled to false") -}}
{{- else if and $hasMin (gt .consumer.maxReplicas 1) -}}
{{- /* With an autoscaler: of the fewest pods that there may be. Kubernetes rounds a share up. */ -}}
{{- $pods := max 1 .consumer.minReplicas -}}
{{- $stay := ternary (mulf (trimSuffix "%" (toString $budget.minAvailable)) 0.01 $pods | ceil) $budget.minAvailable (kindIs "string" $budget.minAvailable) -}}
{{- if ge (int $stay) (int $pods) -}}
{{- include "consumer-fleet.bad" (list . "podDisruptionBudget.minAvailable" (printf "%v of %d pods: no node could ever be drained. Lower it, or set maxUnavailable instead" $budget.minAvailable $pods)) -}}
{{- end -}}
{{- else if and $hasMax (has (toString $budget.maxUnavailable) (list "0" "0%")) -}}
{{- include "consumer-fleet.bad" (list . "podDisruptionBudget.maxUnavailable" "0: no node could ever be drained. Set it to 1 or more") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Two consumers in one group would rebalance one another, and each get a part of both topics. */}}
{{- define "consumer-fleet.validateGroups" -}}
{{- $report := .report -}}
{{- $seen := dict -}}
{{- range $name, $consumer := .consumers -}}
{{- $place := printf "%s of %s" $consumer.group (join "," $consumer.c.kafka.bootstrapServers) -}}
{{- if hasKey $seen $place -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" (printf "consumers.%s.group" $name) "text" (printf "consumers.%s is in the group %q too: give one of them another group" (get $seen $place) $consumer.group)) -}}
{{- end -}}
{{- $_ := set $seen $place $name -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateRelease" -}}
{{- $report := .report -}}
{{- $values := .root.Values -}}
{{- if and $values.exporter.enabled (ne $values.statsd.target "none") -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "statsd.target" "text" (printf "%s, but exporter.enabled is on and metrics have one target: set statsd.target to none, or exporter.enabled to false" $values.statsd.target)) -}}
{{- end -}}
{{- if and $values.statsd.host (ne $values.statsd.target "host") -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "statsd.host" "text" (printf "statsd.target is %s, so nothing is sent there: set statsd.target to host, or take it out" $values.statsd.target)) -}}
{{- end -}}
{{- if and (eq $values.statsd.target "host") (not $values.statsd.host) -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "statsd.host" "text" "statsd.target is host: name the host") -}}
{{- end -}}
{{- if and $values.podMonitor.enabled (not $values.exporter.enabled) -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "podMonitor.enabled" "text" "there is nothing to scrape: the program speaks DogStatsD. Set exporter.enabled to true") -}}
{{- end -}}
{{- range $name := list "prometheusRule" "grafanaDashboard" -}}
{{- if and (get $values $name).enabled (not $values.exporter.enabled) -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" (printf "%s.enabled" $name) "text" "it is made of the exporter's metrics: set exporter.enabled to true, or this to false") -}}
{{- end -}}
{{- end -}}
{{- range $key, $labels := dict "commonLabels" $values.commonLabels "podMonitor.labels" $values.podMonitor.labels "prometheusRule.labels" $values.prometheusRule.labels "grafanaDashboard.labels" $values.grafanaDashboard.labels -}}
{{- include "consumer-fleet.validateLabels" (dict "report" $report "key" $key "labels" $labels) -}}
{{- end -}}
{{- $fullname := include "consumer-fleet.fullname" .root -}}
{{- if contains "." $fullname -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "fullnameOverride" "text" (printf "the objects' names would begin with %q, as the release's does, but not every object may have a dot in its name: set fullnameOverride to a name without" $fullname)) -}}
{{- end -}}
{{- range $name, $given := $values.consumers -}}
{{- if kindIs "invalid" $given -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" (printf "consumers.%s" $name) "text" "null neither adds nor removes it: write {} for a consumer with the defaults, or set enabled to false to remove it") -}}
{{- end -}}
{{- end -}}
{{- range $name := list "kafka" "upstream" "saas" "destinationCa" -}}
{{- if hasKey $values.defaults $name -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" (printf "defaults.%s" $name) "text" (printf "what all consumers share is set as %s, not in defaults" $name)) -}}
{{- end -}}
{{- end -}}
{{- if $values.inspector.enabled -}}
{{- include "consumer-fleet.validateArguments" (dict "report" $report "key" "inspector.extraArgs" "arguments" $values.inspector.extraArgs "options" (list "consumer" "topic" "dlq" "from" "host" "port" "token_file" "bootstrap_servers" "kafka_config")) -}}
{{- if regexMatch "^[0-9]" $fullname -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "fullnameOverride" "text" (printf "the inspector's Service would be called %s-inspector, but its name can't begin with a digit: set fullnameOverride" $fullname)) -}}
{{- end -}}
{{- if not $values.inspector.token.existingSecret.name -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "inspector.token.existingSecret.name" "text" "the page shows events to everybody who reaches it: create a Secret with a token and name it here") -}}
{{- end -}}
{{- if not (hasKey .consumers $values.inspector.consumer) -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "inspector.consumer" "text" (printf "%q is none of the enabled consumers: %s" $values.inspector.consumer (keys .consumers | sortAlpha | join ", "))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
