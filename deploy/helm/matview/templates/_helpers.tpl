{{- define "matview.name" -}}
{{- $name := ternary .Release.Name (printf "%s-matview" .Release.Name) (contains "matview" .Release.Name) }}
{{- $name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- /* Fails with a sentence if a value that has no default is missing. */ -}}
{{- define "matview.checked" -}}
{{- if not .Values.existingSecret }}{{ fail "existingSecret: name the Secret that holds PGPASSWORD" }}{{ end }}
{{- if not .Values.temporal.address }}{{ fail "temporal.address: name the Temporal server, as host:port" }}{{ end }}
{{- if eq (empty .Values.store.url) (empty .Values.data.existingClaim) }}
{{- fail "give either store.url or data.existingClaim: where results are kept" }}
{{- end }}
{{- end }}

{{- define "matview.image" -}}
{{- $image := .Values.image }}
{{- $tag := $image.tag | default .Chart.AppVersion }}
{{- $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{- define "matview.serviceAccount" -}}
{{- .Values.serviceAccount.existingName | default (include "matview.name" .) }}
{{- end }}

{{- /* What identifies the pods of a component. It cannot be changed once they are there. */ -}}
{{- define "matview.selector" -}}
app.kubernetes.io/name: matview
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "matview.labels" -}}
{{ include "matview.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- /* The user of the Dockerfile, without rights. A query's process confines itself further, with Landlock and a
seccomp filter, for which it needs no capability. */ -}}
{{- define "matview.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "matview.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Keys of the Secret as variables. Only the password has to be there. */ -}}
{{- define "matview.secrets" -}}
{{- range .names }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $.root.Values.existingSecret }}, key: {{ . }}, optional: {{ ne . "PGPASSWORD" }}}
{{- end }}
{{- end }}

{{- /* The variables of a map. One without a value is not set. */ -}}
{{- define "matview.variables" -}}
{{- range $name, $value := . }}
{{- if $value }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "matview.catalog" -}}
MATVIEW_DATABASE_URL: {{ .Values.database.url | quote }}
MATVIEW_DATA_DIR: /var/lib/matview
{{- end }}

{{- define "matview.servers" -}}
MATVIEW_TEMPORAL_ADDRESS: {{ .Values.temporal.address | quote }}
MATVIEW_TEMPORAL_NAMESPACE: {{ .Values.temporal.namespace | quote }}
MATVIEW_TEMPORAL_UI_URL: {{ .Values.temporal.uiUrl | quote }}
MATVIEW_PUBLIC_URL: {{ .Values.api.publicUrl | quote }}
MATVIEW_STORE: {{ .Values.store.url | quote }}
MATVIEW_STORE_ENDPOINT: {{ .Values.store.endpoint | quote }}
MATVIEW_STORE_REGION: {{ .Values.store.region | quote }}
MATVIEW_SOURCE_ROOTS: {{ ternary "[\"/srv/sources\"]" "" (not (empty .Values.sources.existingClaim)) | quote }}
MATVIEW_METRICS_HOST: 0.0.0.0
MATVIEW_METRICS_PORT: "9464"
{{- end }}

{{- define "matview.mounts" -}}
- name: data
  mountPath: /var/lib/matview
  readOnly: {{ and .readOnly (not (empty .root.Values.data.existingClaim)) }}
- {name: tmp, mountPath: /tmp}
{{- if .root.Values.sources.existingClaim }}
- {name: sources, mountPath: /srv/sources, readOnly: true}
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "matview.sharedVolumes" -}}
{{- if .Values.sources.existingClaim }}
- name: sources
  persistentVolumeClaim: {claimName: {{ .Values.sources.existingClaim }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Where and with whom pods run. */ -}}
{{- define "matview.placement" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
# A Service named matview-api would set MATVIEW_API_PORT to an address in every pod of the namespace.
enableServiceLinks: false
automountServiceAccountToken: false
# The first process is then one that takes leave of children whose parent is gone, such as those of `matview doctor`.
shareProcessNamespace: true
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "matview.selector" . | fromYaml | toJson }}
{{- with .values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .values.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- end }}
