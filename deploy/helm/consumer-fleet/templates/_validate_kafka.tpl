{{/* The part of _validate.tpl that is about Kafka: the login, properties, and times. */}}

{{- define "consumer-fleet.validateKafka" -}}
{{- $kafka := .consumer.c.kafka -}}
{{- $sasl := $kafka.sasl -}}
{{- if not $kafka.bootstrapServers -}}
{{- include "consumer-fleet.bad" (list . "kafka.bootstrapServers" "no broker is named: set kafka.bootstrapServers, for example [kafka:9092]") -}}
{{- end -}}
{{- if and (hasPrefix "SASL" $kafka.securityProtocol) (not $sasl.mechanism) -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.mechanism" (printf "securityProtocol %s needs one: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER" $kafka.securityProtocol)) -}}
{{- end -}}
{{- if $sasl.mechanism -}}
{{- if not (hasPrefix "SASL" $kafka.securityProtocol) -}}
{{- include "consumer-fleet.bad" (list . "kafka.securityProtocol" (printf "%s does not log in, but kafka.sasl.mechanism is set: take SASL_SSL or SASL_PLAINTEXT" $kafka.securityProtocol)) -}}
{{- end -}}
{{- if not $sasl.existingSecret.name -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.existingSecret.name" "the password has to come from a Secret: create one and name it here") -}}
{{- end -}}
{{- if and $sasl.username $sasl.existingSecret.usernameKey -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.username" "kafka.sasl.existingSecret.usernameKey is set too: keep one of the two") -}}
{{- else if not (or $sasl.username $sasl.existingSecret.usernameKey) -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.username" "there is no user name: set it, or existingSecret.usernameKey") -}}
{{- end -}}
{{- if and (eq $sasl.mechanism "OAUTHBEARER") (not $sasl.oauthbearer.tokenEndpointUrl) -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.oauthbearer.tokenEndpointUrl" "OAUTHBEARER needs to know where tokens are fetched") -}}
{{- end -}}
{{- end -}}
{{- /* An entry that takes the mechanism away from what all share need not take the rest away too. */ -}}
{{- $tookAway := eq (dig "kafka" "sasl" "mechanism" "shared" .consumer.given) "" -}}
{{- $login := or $sasl.username $sasl.existingSecret.name $sasl.existingSecret.usernameKey $sasl.oauthbearer.tokenEndpointUrl -}}
{{- if and $login (not $sasl.mechanism) (not $tookAway) (not (hasPrefix "SASL" $kafka.securityProtocol)) -}}
{{- include "consumer-fleet.bad" (list . "kafka.sasl.mechanism" "without it the rest of kafka.sasl does nothing: set it, and securityProtocol to SASL_SSL or SASL_PLAINTEXT") -}}
{{- end -}}
{{- if and $kafka.tls.client.existingSecret.keyPasswordKey (not $kafka.tls.client.existingSecret.name) -}}
{{- include "consumer-fleet.bad" (list . "kafka.tls.client.existingSecret.name" "keyPasswordKey is the key of a password in it: name the Secret") -}}
{{- end -}}
{{- $hasCa := or $kafka.tls.ca.existingSecret.name $kafka.tls.ca.existingConfigMap.name -}}
{{- if and (or $hasCa $kafka.tls.client.existingSecret.name) (not (hasSuffix "SSL" $kafka.securityProtocol)) -}}
{{- include "consumer-fleet.bad" (list . "kafka.securityProtocol" (printf "%s does not encrypt, but kafka.tls is set: take SSL or SASL_SSL" $kafka.securityProtocol)) -}}
{{- end -}}
{{- if and $kafka.tls.ca.existingSecret.name $kafka.tls.ca.existingConfigMap.name -}}
{{- include "consumer-fleet.bad" (list . "kafka.tls.ca" "existingSecret and existingConfigMap exclude each other: keep one of the two") -}}
{{- end -}}
{{- end -}}

{{- define "consumer-fleet.validateRdkafka" -}}
{{- $at := . -}}
{{- $x := .consumer -}}
{{- $rdkafka := $x.c.kafka.rdkafka -}}
{{- range $name, $instead := $x.program.ownedProperties -}}
{{- if hasKey $rdkafka $name -}}
{{- include "consumer-fleet.bad" (list $at (printf "kafka.rdkafka.%s" $name) (printf "it can't be set: %s" $instead)) -}}
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
  "group.instance.id" "membership: static (a Deployment's pods have no lasting names)"
  "partition.assignment.strategy" "assignmentStrategy" -}}
{{- if hasKey $rdkafka $name -}}
{{- include "consumer-fleet.bad" (list $at (printf "kafka.rdkafka.%s" $name) (printf "use %s instead" $instead)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := $rdkafka -}}
{{- if regexMatch "password|passphrase|secret|key\\.pem" $name -}}
{{- include "consumer-fleet.bad" (list $at (printf "kafka.rdkafka.%s" $name) (printf "it is a secret, and would be in a ConfigMap: use kafka.sasl.existingSecret or kafka.tls, or CONSUMER_KAFKA_CONFIG_%s in extraEnv, from a Secret" ($name | replace "." "_" | upper))) -}}
{{- end -}}
{{- end -}}
{{- if eq $x.c.membership "kip848" -}}
{{- range $name := list "session.timeout.ms" "heartbeat.interval.ms" "group.protocol.type" -}}
{{- if hasKey $rdkafka $name -}}
{{- include "consumer-fleet.bad" (list $at (printf "kafka.rdkafka.%s" $name) "with membership kip848 it is the broker's to set, and librdkafka refuses it: take it out") -}}
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
{{- include "consumer-fleet.bad" (list . "terminationGracePeriodSeconds" (printf "%g is too short for shutdownTimeoutSeconds %g: Kubernetes would kill what the program still delivers. Set it to %g or more" $grace $shutdown (addf $shutdown 15.0))) -}}
{{- end -}}
{{- if ge $shutdown $maxPoll -}}
{{- include "consumer-fleet.bad" (list . "shutdownTimeoutSeconds" (printf "%g s is not below max.poll.interval.ms (%g s), after which Kafka takes the partitions away in the middle of a drain: lower it, or raise kafka.rdkafka.max.poll.interval.ms" $shutdown $maxPoll)) -}}
{{- end -}}
{{- if lt $fresh (addf $shutdown 5.0) -}}
{{- include "consumer-fleet.bad" (list . "heartbeat.freshnessSeconds" (printf "%g is too short: at a rebalance a drain may take shutdownTimeoutSeconds (%g) without a heartbeat. Set it to %g or more" $fresh $shutdown (addf $shutdown 5.0))) -}}
{{- end -}}
{{- $liveness := $c.probes.liveness -}}
{{- $noticed := addf $fresh (mulf $liveness.periodSeconds $liveness.failureThreshold) -}}
{{- if and $liveness.enabled (gt $noticed $maxPoll) -}}
{{- include "consumer-fleet.bad" (list . "probes.liveness" (printf "a consumer that hangs would be restarted after up to %g s (freshnessSeconds + periodSeconds × failureThreshold), but Kafka gives up on it after max.poll.interval.ms (%g s): lower one of the three" $noticed $maxPoll)) -}}
{{- end -}}
{{- range $name, $probe := $c.probes -}}
{{- if gt (int $probe.timeoutSeconds) (int $c.heartbeat.freshnessSeconds) -}}
{{- include "consumer-fleet.bad" (list $ (printf "probes.%s.timeoutSeconds" $name) "it is longer than heartbeat.freshnessSeconds: a few seconds are enough to look at a file") -}}
{{- end -}}
{{- end -}}
{{- $session := divf (default 45000 (get .consumer.kafkaConfig "session.timeout.ms")) 1000.0 -}}
{{- if and (ne $c.membership "kip848") (gt $session $maxPoll) -}}
{{- include "consumer-fleet.bad" (list . "kafka.rdkafka.session.timeout.ms" (printf "%g s%s is longer than max.poll.interval.ms (%g s), which librdkafka refuses: lower it, or raise the other" $session (ternary "" ", its default," (hasKey $c.kafka.rdkafka "session.timeout.ms")) $maxPoll)) -}}
{{- end -}}
{{- end -}}
