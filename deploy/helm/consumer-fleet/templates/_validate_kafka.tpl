{{/* The checks of Kafka's values: login, properties and times. */}}

{{- define "consumer-fleet.validateKafka" -}}
{{- $kafka := .consumer.c.kafka -}}
{{- $sasl := $kafka.sasl -}}
{{- if not $kafka.bootstrapServers -}}
{{- include "consumer-fleet.bad" (list . "kafka.bootstrapServers" "no broker: set kafka.bootstrapServers, for example to [kafka:9092]") -}}
{{- end -}}
{{- if and (hasPrefix "SASL" $kafka.securityProtocol) (not $sasl.mechanism) -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.mechanism" (printf "required with securityProtocol %s: use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER" $kafka.securityProtocol)) -}}
{{- end -}}
{{- if $sasl.mechanism -}}
{{- if not (hasPrefix "SASL" $kafka.securityProtocol) -}}
{{- include "consumer-fleet.bad" (list . "kafka.securityProtocol" (printf "%s has no login, but kafka.sasl.mechanism is set: use SASL_SSL or SASL_PLAINTEXT" $kafka.securityProtocol)) -}}
{{- end -}}
{{- if not $sasl.existingSecret.name -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.existingSecret.name" "the password must come from a Secret: create one and name it here") -}}
{{- end -}}
{{- if and $sasl.username $sasl.existingSecret.usernameKey -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.username" "kafka.sasl.existingSecret.usernameKey is also set: set only one of them") -}}
{{- else if not (or $sasl.username $sasl.existingSecret.usernameKey) -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.username" "no user name: set it, or existingSecret.usernameKey") -}}
{{- end -}}
{{- if and (eq $sasl.mechanism "OAUTHBEARER") (not $sasl.oauthbearer.tokenEndpointUrl) -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.oauthbearer.tokenEndpointUrl" "required with OAUTHBEARER: set the URL that issues tokens") -}}
{{- end -}}
{{- end -}}
{{- /* An entry that removes the shared mechanism does not have to remove the rest of the login. */ -}}
{{- $tookAway := eq (dig "kafka" "sasl" "mechanism" "shared" .consumer.given) "" -}}
{{- $login := or $sasl.username $sasl.existingSecret.name $sasl.existingSecret.usernameKey $sasl.oauthbearer.tokenEndpointUrl -}}
{{- if and $login (not $sasl.mechanism) (not $tookAway) (not (hasPrefix "SASL" $kafka.securityProtocol)) -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.mechanism" "without it, the rest of kafka.sasl has no effect: set it, and securityProtocol to SASL_SSL or SASL_PLAINTEXT") -}}
{{- end -}}
{{- if and $kafka.tls.client.existingSecret.keyPasswordKey (not $kafka.tls.client.existingSecret.name) -}}
{{- include "consumer-fleet.bad" (list . "kafka.tls.client.existingSecret.name" "keyPasswordKey is a key of this Secret: name the Secret") -}}
{{- end -}}
{{- $hasCa := or $kafka.tls.ca.existingSecret.name $kafka.tls.ca.existingConfigMap.name -}}
{{- if and (or $hasCa $kafka.tls.client.existingSecret.name) (not (hasSuffix "SSL" $kafka.securityProtocol)) -}}
{{- include "consumer-fleet.bad" (list . "kafka.securityProtocol" (printf "%s does not encrypt, but kafka.tls is set: use SSL or SASL_SSL" $kafka.securityProtocol)) -}}
{{- end -}}
{{- if and $kafka.tls.ca.existingSecret.name $kafka.tls.ca.existingConfigMap.name -}}
{{- include "consumer-fleet.bad" (list . "kafka.tls.ca" "existingSecret and existingConfigMap exclude each other: set only one of them") -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateRdkafka" -}}
{{- $at := . -}}
{{- $x := .consumer -}}
{{- $rdkafka := $x.c.kafka.rdkafka -}}
{{- range $name, $instead := $x.program.ownedProperties -}}
{{- if hasKey $rdkafka $name -}}
{{- include "consumer-fleet.bad" (list $at (printf "kafka.rdkafka.%s" $name) (printf "can't be set: %s" $instead)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $instead := dict
  "bootstrap.servers" "kafka.bootstrapServers"
  "security.protocol" "kafka.securityProtocol"
  "sasl.mechanism" "kafka.sasl.mechanism"
  "sasl.mechanisms" "kafka.sasl.mechanism"
  "sasl.username" "kafka.sasl.username"
  "sasl.oauthbearer.client.id" "kafka.sasl.username"
  "group.protocol" "membership: kip848"
  "group.instance.id" "membership: static (a Deployment's pods have no stable names)"
  "partition.assignment.strategy" "assignmentStrategy" -}}
{{- if hasKey $rdkafka $name -}}
{{- include "consumer-fleet.bad" (list $at (printf "kafka.rdkafka.%s" $name) (printf "use %s instead" $instead)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := $rdkafka -}}
{{- if regexMatch "password|passphrase|secret|key\\.pem" $name -}}
{{- include "consumer-fleet.bad" (list $at (printf "kafka.rdkafka.%s" $name) (printf "a secret would be in a ConfigMap: use kafka.sasl.existingSecret or kafka.tls, or CONSUMER_KAFKA_CONFIG_%s in extraEnv, from a Secret" ($name | replace "." "_" | upper))) -}}
{{- end -}}
{{- end -}}
{{- if eq $x.c.membership "kip848" -}}
{{- range $name := list "session.timeout.ms" "heartbeat.interval.ms" "group.protocol.type" -}}
{{- if hasKey $rdkafka $name -}}
{{- include "consumer-fleet.bad" (list $at (printf "kafka.rdkafka.%s" $name) "with membership kip848, the broker sets it and librdkafka refuses it: remove it") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateTiming" -}}
{{- $c := .consumer.c -}}
{{- $shutdown := float64 $c.shutdownTimeoutSeconds -}}
{{- $grace := float64 $c.terminationGracePeriodSeconds -}}
{{- $fresh := float64 $c.heartbeat.freshnessSeconds -}}
{{- $maxPoll := divf (default 300000 (get $c.kafka.rdkafka "max.poll.interval.ms") | float64) 1000.0 -}}
{{- if lt $grace (addf $shutdown 15.0) -}}
{{- include "consumer-fleet.bad" (list . "terminationGracePeriodSeconds" (printf "%g is too short for shutdownTimeoutSeconds %g: Kubernetes would kill the program while it delivers. Set it to %g or more" $grace $shutdown (addf $shutdown 15.0))) -}}
{{- end -}}
{{- if ge $shutdown $maxPoll -}}
{{- include "consumer-fleet.bad" (list . "shutdownTimeoutSeconds" (printf "%g s is not below max.poll.interval.ms (%g s), after which Kafka revokes the partitions in the middle of a drain: lower it, or raise kafka.rdkafka.max.poll.interval.ms" $shutdown $maxPoll)) -}}
{{- end -}}
{{- if lt $fresh (addf $shutdown 5.0) -}}
{{- include "consumer-fleet.bad" (list . "heartbeat.freshnessSeconds" (printf "%g is too short: in a rebalance, a drain may take shutdownTimeoutSeconds (%g) without a heartbeat. Set it to %g or more" $fresh $shutdown (addf $shutdown 5.0))) -}}
{{- end -}}
{{- $liveness := $c.probes.liveness -}}
{{- $noticed := addf $fresh (mulf $liveness.periodSeconds $liveness.failureThreshold) -}}
{{- if and $liveness.enabled (gt $noticed $maxPoll) -}}
{{- include "consumer-fleet.bad" (list . "probes.liveness" (printf "a hanging consumer would be restarted after up to %g s (freshnessSeconds + periodSeconds × failureThreshold), but Kafka removes it from the group after max.poll.interval.ms (%g s): lower one of the three" $noticed $maxPoll)) -}}
{{- end -}}
{{- range $name, $probe := $c.probes -}}
{{- if gt (int $probe.timeoutSeconds) (int $c.heartbeat.freshnessSeconds) -}}
{{- include "consumer-fleet.bad" (list $ (printf "probes.%s.timeoutSeconds" $name) "longer than heartbeat.freshnessSeconds: lower it; a probe needs a few seconds at most") -}}
{{- end -}}
{{- end -}}
{{- $session := divf (default 45000 (get .consumer.kafkaConfig "session.timeout.ms")) 1000.0 -}}
{{- if and (ne $c.membership "kip848") (gt $session $maxPoll) -}}
{{- include "consumer-fleet.bad" (list . "kafka.rdkafka.session.timeout.ms" (printf "%g s%s is longer than max.poll.interval.ms (%g s), which librdkafka refuses: lower it, or raise max.poll.interval.ms" $session (ternary "" ", its default," (hasKey $c.kafka.rdkafka "session.timeout.ms")) $maxPoll)) -}}
{{- end -}}
{{- end -}}
