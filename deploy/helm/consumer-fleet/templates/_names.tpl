{{/* The prefix of every name. Names have at most 52 characters, because a pod adds a hash. */}}
{{- define "consumer-fleet.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $chart .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $chart | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
Labels of an object: (dict "root" $ "component" "events" "more" (dict)); without a component for
objects of the whole release; `more` is optional.
*/}}
{{- define "consumer-fleet.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "consumer-fleet.podLabels" . }}
{{- end -}}

{{/* Labels of a pod: only those that stay the same in a new version of the chart. */}}
{{- define "consumer-fleet.podLabels" -}}
{{- with mergeOverwrite (deepCopy .root.Values.commonLabels) (default dict .more) -}}
{{ toYaml . }}
{{ end -}}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{ include "consumer-fleet.selector" . }}
{{- end -}}

{{/* Labels of a component that never change, so that they can select its pods. */}}
{{- define "consumer-fleet.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "consumer-fleet.serviceAccountName" -}}
{{- $default := ternary (include "consumer-fleet.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $default .Values.serviceAccount.name -}}
{{- end -}}

{{/* An image's reference: (dict "image" .Values.image "tag" "…"). */}}
{{- define "consumer-fleet.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .tag .image.tag) -}}
{{- end -}}
{{- end -}}
