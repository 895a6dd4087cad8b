{{/*
Checks that the schema can't express: values that are valid alone but not together. All problems are
reported at once, each with its key, the problem, and what to do. `report` is (dict "problems" list).
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
{{- fail (printf "these values are invalid:\n\n  - %s\n" (join "\n  - " (uniq $report.problems))) -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.problem" -}}
{{- $_ := set .report "problems" (append .report.problems (printf "%s: %s" .key .text)) -}}
{{- end -}}

{{/* A problem of one consumer, or of the values that all share: (list $at "key" "text"). */}}
{{- define "consumer-fleet.bad" -}}
{{- $at := index . 0 -}}
{{- $key := index . 1 -}}
{{- $first := regexFind "^[^.]+" $key -}}
{{- $shared := and (has $first (list "kafka" "upstream" "saas" "destinationCa")) (not (hasKey $at.consumer.given $first)) -}}
{{- include "consumer-fleet.problem" (dict "report" $at.report "key" (ternary $key (printf "%s.%s" $at.place $key) $shared) "text" (index . 2)) -}}
{{- end -}}

{{- define "consumer-fleet.validateNames" -}}
{{- $x := .consumer -}}
{{- $known := concat $x.program.consumers $x.root.Values.additionalConsumers -}}
{{- $at := . -}}
{{- if $x.c.topics -}}
{{- range list "topic" "physicalTopic" "group" -}}
{{- if get $x.c . -}}
{{- include "consumer-fleet.bad" (list $at . "it is for one topic, but `topics` names several: remove one of the two (`config.snuba_topic_map` names their topics on the brokers)") -}}
{{- end -}}
{{- end -}}
{{- if $x.c.config.dlq_topic -}}
{{- include "consumer-fleet.bad" (list . "config.dlq_topic" "it is for one topic, but `topics` names several, and each has a dead-letter topic of its own: remove it") -}}
{{- end -}}
{{- range $x.c.topics -}}
{{- if not (has . $known) -}}
{{- include "consumer-fleet.bad" (list $at "topics" (printf "the program has no consumer %q, only %s. If another distribution in the image provides it, add its name to `additionalConsumers`" . (join ", " $known))) -}}
{{- end -}}
{{- end -}}
{{- else if not (has $x.topic $known) -}}
{{- include "consumer-fleet.bad" (list . "topic" (printf "the program has no consumer %q, only %s. If another distribution in the image provides it, add its name to `additionalConsumers`. An entry with another name needs `topic: …`, and `physicalTopic: …` if the topic's name on the brokers differs" $x.topic (join ", " $known))) -}}
{{- end -}}
{{- if has $x.name (list "inspector" "dashboard" "statsd-mapping" "test") -}}
{{- include "consumer-fleet.problem" (dict "report" .report "key" .place "text" (printf "the chart uses the name %q for its own objects: give the entry another name, and set `topic: …` to the program's consumer" $x.name)) -}}
{{- end -}}
{{- if gt (len $x.fullname) 52 -}}
{{- include "consumer-fleet.problem" (dict "report" .report "key" .place "text" (printf "the name of its objects, %q, has more than 52 characters and leaves no room for a pod's suffix: shorten the entry's name, or set fullnameOverride" $x.fullname)) -}}
{{- end -}}
{{- $reserved := has $x.group $x.program.reservedGroups -}}
{{- range $x.program.reservedGroupPrefixes -}}
{{- if hasPrefix . $x.group }}{{ $reserved = true }}{{ end -}}
{{- end -}}
{{- if $reserved -}}
{{- include "consumer-fleet.bad" (list . "group" (printf "%q is a group of Sentry or Snuba, and this consumer would take partitions away from it: use another group, for example %q" $x.group (printf "fleet-%s" $x.group))) -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateDestinations" -}}
{{- $at := . -}}
{{- $x := .consumer -}}
{{- range $name := list "upstream" "saas" -}}
{{- $destination := get $x.c $name -}}
{{- if and $destination.dsn $destination.existingSecret.name -}}
{{- include "consumer-fleet.bad" (list $at (printf "%s.dsn" $name) (printf "%s.existingSecret.name is also set: set only one of them" $name)) -}}
{{- else if and $destination.dsn (not (regexMatch "^https?://[^@/:]+(:[^@/]*)?@[^@/]+(/.*)?/[0-9]+$" $destination.dsn)) -}}
{{- include "consumer-fleet.bad" (list $at (printf "%s.dsn" $name) "not a valid DSN: expected https://PUBLIC_KEY@HOST/PROJECT_ID") -}}
{{- end -}}
{{- end -}}
{{- $saas := or $x.c.saas.dsn $x.c.saas.existingSecret.name -}}
{{- $upstream := or $x.c.upstream.dsn $x.c.upstream.existingSecret.name -}}
{{- $rate := default 0.0 $x.c.config.store_use_relay_dsn_sample_rate | float64 -}}
{{- if not (or $saas $upstream) -}}
{{- include "consumer-fleet.bad" (list . "upstream" "no DSN: set upstream.existingSecret.name (or upstream.dsn)") -}}
{{- else if and $saas (eq $rate 0.0) -}}
{{- include "consumer-fleet.bad" (list . "config.store_use_relay_dsn_sample_rate" "a saas DSN is set, but its share of the messages is 0: set the share, for example to 1") -}}
{{- else if and $saas (not $upstream) (lt $rate 1.0) -}}
{{- include "consumer-fleet.bad" (list . "config.store_use_relay_dsn_sample_rate" (printf "saas is the only destination, with a share of %g: the other messages would go nowhere. Set it to 1, or set an upstream" $rate)) -}}
{{- end -}}
{{- if and $x.c.destinationCa.existingSecret.name $x.c.destinationCa.existingConfigMap.name -}}
{{- include "consumer-fleet.bad" (list . "destinationCa" "existingSecret and existingConfigMap exclude each other: set only one of them") -}}
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
{{- include "consumer-fleet.bad" (list . "config.dlq_topic" "no_dlq is on, so there is no dead-letter topic: set only one of them") -}}
{{- end -}}
{{- $connect := default .consumer.program.defaults.connect_timeout_s $config.connect_timeout_s | float64 -}}
{{- $request := default .consumer.program.defaults.request_timeout_s $config.request_timeout_s | float64 -}}
{{- if gt $connect $request -}}
{{- include "consumer-fleet.bad" (list . "config.connect_timeout_s" (printf "%g is longer than request_timeout_s (%g), which includes it: lower it, or raise request_timeout_s" $connect $request)) -}}
{{- end -}}
{{- if and .consumer.root.Values.exporter.enabled (ne (default .consumer.program.defaults.metrics_prefix $config.metrics_prefix) .consumer.program.defaults.metrics_prefix) -}}
{{- include "consumer-fleet.bad" (list . "config.metrics_prefix" "the exporter expects the default prefix: remove it, or set exporter.enabled to false") -}}
{{- end -}}
{{- if and .consumer.root.Values.exporter.enabled (ne (dig "consumer" .consumer.name (default dict $config.metrics_tags) | toString) .consumer.name) -}}
{{- include "consumer-fleet.bad" (list . "config.metrics_tags.consumer" "alerts and the dashboard identify a consumer by its entry's name: remove it, or set exporter.enabled to false") -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateScale" -}}
{{- $x := .consumer -}}
{{- $c := $x.c -}}
{{- $scaling := $c.autoscaling -}}
{{- if and $scaling.keda.enabled $scaling.hpa.enabled -}}
{{- include "consumer-fleet.bad" (list . "autoscaling" "keda.enabled and hpa.enabled exclude each other, because KEDA creates its own HPA: enable only one of them") -}}
{{- end -}}
{{- if $x.autoscaler -}}
{{- if not $x.maxReplicas -}}
{{- include "consumer-fleet.bad" (list . "autoscaling.maxReplicas" "neither it nor its default, partitions, is set: set one of them") -}}
{{- else if gt (int $scaling.minReplicas) $x.maxReplicas -}}
{{- include "consumer-fleet.bad" (list . "autoscaling.minReplicas" (printf "%d is more than maxReplicas (%d): lower it" (int $scaling.minReplicas) $x.maxReplicas)) -}}
{{- end -}}
{{- if and (eq (int $scaling.minReplicas) 0) (eq $x.autoscaler "hpa") -}}
{{- include "consumer-fleet.bad" (list . "autoscaling.minReplicas" "an HPA can't scale down to 0: set it to 1 or more, or use autoscaling.keda") -}}
{{- end -}}
{{- if and (eq $x.autoscaler "hpa") (not $scaling.hpa.metrics) (not (dig "requests" "cpu" "" $c.resources)) -}}
{{- include "consumer-fleet.bad" (list . "resources.requests.cpu" "the HPA scales by the utilization of this request: set it") -}}
{{- end -}}
{{- else -}}
{{- $given := default dict $x.given.autoscaling -}}
{{- /* An entry with `enabled: false` may keep its limits for later. */ -}}
{{- $isOff := or (hasKey (default dict $given.keda) "enabled") (hasKey (default dict $given.hpa) "enabled") -}}
{{- if and (or (hasKey $given "minReplicas") (hasKey $given "maxReplicas")) (not $isOff) -}}
{{- include "consumer-fleet.bad" (list . "autoscaling" "minReplicas and maxReplicas have no effect without an autoscaler: set keda.enabled or hpa.enabled to true, or set replicas instead") -}}
{{- end -}}
{{- end -}}
{{- if and $c.partitions (not $c.allowStandby) (gt $x.maxReplicas (int $c.partitions)) -}}
{{- $key := ternary "autoscaling.maxReplicas" "replicas" (ne $x.autoscaler "") -}}
{{- include "consumer-fleet.bad" (list . $key (printf "%d pods for %d partitions: the others would be idle. Lower it, or set allowStandby to true to have standbys" $x.maxReplicas (int $c.partitions))) -}}
{{- end -}}
{{- if eq $c.membership "static" -}}
{{- if ne (toString $c.rollout.maxSurge) "0" -}}
{{- include "consumer-fleet.bad" (list . "rollout.maxSurge" "with membership static, a pod is replaced by one of the same name, so there can't be additional pods: set it to 0") -}}
{{- end -}}
{{- else if and (has (toString $c.rollout.maxSurge) (list "0" "0%")) (has (toString $c.rollout.maxUnavailable) (list "0" "0%")) -}}
{{- include "consumer-fleet.bad" (list . "rollout.maxUnavailable" "it and maxSurge are both 0, so no pod could ever be replaced: set one of them to 1") -}}
{{- end -}}
{{- if ge (int $c.rollout.minReadySeconds) (int $c.rollout.progressDeadlineSeconds) -}}
{{- include "consumer-fleet.bad" (list . "rollout.progressDeadlineSeconds" "must be more than minReadySeconds, or every rollout fails") -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateBudget" -}}
{{- $budget := .consumer.c.podDisruptionBudget -}}
{{- $hasMin := not (kindIs "invalid" $budget.minAvailable) -}}
{{- $hasMax := not (kindIs "invalid" $budget.maxUnavailable) -}}
{{- if $budget.enabled -}}
{{- if and $hasMin $hasMax -}}
{{- include "consumer-fleet.bad" (list . "podDisruptionBudget.minAvailable" "maxUnavailable is also set, and Kubernetes accepts only one of them: set maxUnavailable to null") -}}
{{- else if not (or $hasMin $hasMax) -}}
{{- include "consumer-fleet.bad" (list . "podDisruptionBudget.maxUnavailable" "neither it nor minAvailable is set: set one of them, or podDisruptionBudget.enabled to false") -}}
{{- else if and $hasMin (gt .consumer.maxReplicas 1) -}}
{{- /* With an autoscaler, the minimum counts. Kubernetes rounds a percentage up. */ -}}
{{- $pods := max 1 .consumer.minReplicas -}}
{{- $stay := ternary (mulf (trimSuffix "%" (toString $budget.minAvailable)) 0.01 $pods | ceil) $budget.minAvailable (kindIs "string" $budget.minAvailable) -}}
{{- if ge (int $stay) (int $pods) -}}
{{- include "consumer-fleet.bad" (list . "podDisruptionBudget.minAvailable" (printf "%v of %d pods must stay, so no node could ever be drained: lower it, or set maxUnavailable instead" $budget.minAvailable $pods)) -}}
{{- end -}}
{{- else if and $hasMax (has (toString $budget.maxUnavailable) (list "0" "0%")) -}}
{{- include "consumer-fleet.bad" (list . "podDisruptionBudget.maxUnavailable" "with 0, no node could ever be drained: set it to 1 or more") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Two consumers in one group would rebalance each other, and each would get a part of both topics. */}}
{{- define "consumer-fleet.validateGroups" -}}
{{- $report := .report -}}
{{- $seen := dict -}}
{{- range $name, $consumer := .consumers -}}
{{- range $consumer.lanes -}}
{{- $place := printf "%s of %s" .group (join "," $consumer.c.kafka.bootstrapServers) -}}
{{- if hasKey $seen $place -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" (printf "consumers.%s.group" $name) "text" (printf "consumers.%s is also in group %q: set another group for one of them" (get $seen $place) .group)) -}}
{{- end -}}
{{- $_ := set $seen $place $name -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateRelease" -}}
{{- $report := .report -}}
{{- $values := .root.Values -}}
{{- if and $values.exporter.enabled (ne $values.statsd.target "none") -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "statsd.target" "text" (printf "%s, but exporter.enabled is on, and metrics have only one target: set statsd.target to none, or exporter.enabled to false" $values.statsd.target)) -}}
{{- end -}}
{{- if and $values.statsd.host (ne $values.statsd.target "host") -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "statsd.host" "text" (printf "has no effect with statsd.target %s: set statsd.target to host, or remove it" $values.statsd.target)) -}}
{{- end -}}
{{- if and (eq $values.statsd.target "host") (not $values.statsd.host) -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "statsd.host" "text" "required with statsd.target host: set it") -}}
{{- end -}}
{{- if and $values.podMonitor.enabled (not $values.exporter.enabled) -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "podMonitor.enabled" "text" "there is nothing to scrape, because the program sends DogStatsD: set exporter.enabled to true") -}}
{{- end -}}
{{- range $name := list "prometheusRule" "grafanaDashboard" -}}
{{- if and (get $values $name).enabled (not $values.exporter.enabled) -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" (printf "%s.enabled" $name) "text" "it uses the exporter's metrics: set exporter.enabled to true, or this to false") -}}
{{- end -}}
{{- end -}}
{{- range $key, $labels := dict "commonLabels" $values.commonLabels "podMonitor.labels" $values.podMonitor.labels "prometheusRule.labels" $values.prometheusRule.labels "grafanaDashboard.labels" $values.grafanaDashboard.labels -}}
{{- include "consumer-fleet.validateLabels" (dict "report" $report "key" $key "labels" $labels) -}}
{{- end -}}
{{- $fullname := include "consumer-fleet.fullname" .root -}}
{{- if contains "." $fullname -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "fullnameOverride" "text" (printf "the objects' names would begin with %q, as the release's name does, but not every object's name may contain a dot: set fullnameOverride to a name without one" $fullname)) -}}
{{- end -}}
{{- range $name, $given := $values.consumers -}}
{{- if kindIs "invalid" $given -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" (printf "consumers.%s" $name) "text" "null neither adds nor removes a consumer: use {} for one with the defaults, or set enabled to false to remove it") -}}
{{- end -}}
{{- end -}}
{{- range $name := list "kafka" "upstream" "saas" "destinationCa" -}}
{{- if hasKey $values.defaults $name -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" (printf "defaults.%s" $name) "text" (printf "values that all consumers share are set as %s, not in defaults" $name)) -}}
{{- end -}}
{{- end -}}
{{- if $values.inspector.enabled -}}
{{- include "consumer-fleet.validateArguments" (dict "report" $report "key" "inspector.extraArgs" "arguments" $values.inspector.extraArgs "options" (list "consumer" "topic" "dlq" "from" "host" "port" "token_file" "bootstrap_servers" "kafka_config")) -}}
{{- if regexMatch "^[0-9]" $fullname -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "fullnameOverride" "text" (printf "the name of the inspector's Service, %s-inspector, can't begin with a digit: set fullnameOverride" $fullname)) -}}
{{- end -}}
{{- if not $values.inspector.token.existingSecret.name -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "inspector.token.existingSecret.name" "text" "without a token, everyone who reaches the page sees the events: create a Secret with a token and name it here") -}}
{{- end -}}
{{- if gt (len (dig $values.inspector.consumer "lanes" list .consumers)) 1 -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "inspector.consumer" "text" (printf "consumers.%s has several topics, and the inspector follows one: add an entry for that topic" $values.inspector.consumer)) -}}
{{- end -}}
{{- if not (hasKey .consumers $values.inspector.consumer) -}}
{{- include "consumer-fleet.problem" (dict "report" $report "key" "inspector.consumer" "text" (printf "%q is not an enabled consumer: use one of %s" $values.inspector.consumer (keys .consumers | sortAlpha | join ", "))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
