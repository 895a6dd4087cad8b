{{/* (list .Values.prometheusRule "severity" "summary" "description") */}}
{{- define "consumer-fleet.alertText" -}}
{{- $labels := mergeOverwrite (dict "severity" (index . 1)) (index . 0).alertLabels -}}
{{- toYaml (dict "labels" $labels "annotations" (dict "summary" (index . 2) "description" (index . 3))) -}}
{{- end -}}

{{/*
A counter grew by more than the limit within 15 minutes: (list "name" "selector" limit). A new series
counts with its value, because increase() does not see the step from no series to one.
*/}}
{{- define "consumer-fleet.grew" -}}
{{- $series := printf "%s{%s}" (index . 0) (index . 1) -}}
sum by (namespace, consumer) (({{ $series }} unless {{ $series }} offset 15m) or increase({{ $series }}[15m])) > {{ int64 (index . 2) }}
{{- end -}}
