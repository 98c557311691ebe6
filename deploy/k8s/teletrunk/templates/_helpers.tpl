{{- define "teletrunk.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Called with (list $ "manager"). */}}
{{- define "teletrunk.name" -}}
{{- printf "%s-%s" (include "teletrunk.fullname" (first .)) (last .) -}}
{{- end -}}

{{- define "teletrunk.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{- define "teletrunk.labels" -}}
{{- $root := first . -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{ include "teletrunk.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- end -}}

{{- define "teletrunk.image" -}}
{{- $root := first . -}}
{{- printf "%s/%s:%s" $root.Values.image.registry (last .) (default $root.Chart.AppVersion $root.Values.image.tag) -}}
{{- end -}}

{{- define "teletrunk.pod" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "teletrunk.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* /live and /ready of every service. Called with the number of seconds that a start may take. */}}
{{- define "teletrunk.probes" -}}
startupProbe:
  httpGet: {path: /live, port: metrics}
  periodSeconds: 2
  failureThreshold: {{ div . 2 }}
livenessProbe:
  httpGet: {path: /live, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /ready, port: metrics}
  periodSeconds: 3
  timeoutSeconds: 2
  failureThreshold: 2
{{- end -}}

{{- define "teletrunk.logging" -}}
- {name: TELETRUNK_LOG_LEVEL, value: {{ .Values.log.level | quote }}}
- {name: TELETRUNK_LOG_FORMAT, value: {{ .Values.log.format | quote }}}
{{- end -}}

{{- define "teletrunk.managerAddress" -}}
{{- printf "%s.%s.svc:5050" (include "teletrunk.name" (list . "manager")) .Release.Namespace -}}
{{- end -}}

{{- define "teletrunk.authoritySecret" -}}
{{- default (include "teletrunk.name" (list . "authority")) .Values.authority.existingSecret -}}
{{- end -}}

{{- define "teletrunk.keysSecret" -}}
{{- default (include "teletrunk.name" (list . "keys")) .Values.keys.existingSecret -}}
{{- end -}}

{{- define "teletrunk.databaseSecret" -}}
{{- default (include "teletrunk.name" (list . "database")) .Values.database.existingSecret -}}
{{- end -}}

{{- define "teletrunk.redisSecret" -}}
{{- if .Values.redis.existingSecret -}}{{ .Values.redis.existingSecret }}
{{- else if .Values.redis.builtin.enabled -}}{{ include "teletrunk.name" (list . "redis") }}
{{- end -}}
{{- end -}}

{{- define "teletrunk.apiCertificate" -}}
{{- default (include "teletrunk.name" (list . "api")) .Values.manager.api.certificateSecret -}}
{{- end -}}

{{- define "teletrunk.invitationSecret" -}}
{{- default (include "teletrunk.name" (list . "invitation")) .Values.join.invitation.existingSecret -}}
{{- end -}}

{{/* How a Worker or Storage comes to its certificate. Called with (list $ "worker"). */}}
{{- define "teletrunk.join.env" -}}
{{- $root := first . -}}
{{- if $root.Values.manager.enabled }}
- {name: TELETRUNK_MANAGER_ADDRESS, value: {{ include "teletrunk.managerAddress" $root | quote }}}
- {name: TELETRUNK_JOIN_TOKEN_FILE, value: /run/teletrunk/join/token}
- {name: TELETRUNK_AUTHORITY_FILE, value: /run/teletrunk/authority/tls.crt}
{{- else }}
- name: TELETRUNK_INVITATION
  valueFrom: {secretKeyRef: {name: {{ include "teletrunk.invitationSecret" $root }}, key: invitation}}
{{- end }}
{{- end -}}

{{- define "teletrunk.join.mounts" -}}
{{- if (first .).Values.manager.enabled }}
- {name: join, mountPath: /run/teletrunk/join, readOnly: true}
- {name: authority, mountPath: /run/teletrunk/authority, readOnly: true}
{{- end }}
{{- end -}}

{{- define "teletrunk.join.volumes" -}}
{{- $root := first . -}}
{{- if $root.Values.manager.enabled }}
- name: join
{{- if $root.Values.join.serviceAccounts }}
  projected:
    sources:
      - serviceAccountToken: {path: token, audience: teletrunk, expirationSeconds: 3600}
{{- else }}
  secret:
    secretName: {{ include "teletrunk.name" (list $root "join") }}
    items: [{key: {{ last . }}, path: token}]
{{- end }}
- name: authority
  secret:
    secretName: {{ include "teletrunk.authoritySecret" $root }}
    items: [{key: tls.crt, path: tls.crt}]
{{- end }}
{{- end -}}

{{/* A stored value of a Secret of this release, else nothing. Called with (list $ NAME KEY). */}}
{{- define "teletrunk.kept" -}}
{{- $root := index . 0 -}}
{{- $secret := lookup "v1" "Secret" $root.Release.Namespace (index . 1) -}}
{{- if $secret }}{{ index (default dict $secret.data) (index . 2) | default "" }}{{ end -}}
{{- end -}}

{{- define "teletrunk.keep" -}}
{{- if .Values.keepSecrets }}
annotations: {helm.sh/resource-policy: keep}
{{- end }}
{{- end -}}

{{/* Five digits that the sandbox's Telegram sends at every sign-in. It guards nothing. */}}
{{- define "teletrunk.sandboxCode" -}}22222{{- end -}}

{{- define "teletrunk.tokenSecret" -}}
{{- default (include "teletrunk.name" (list . "api-token")) .Values.manager.api.tokenSecret -}}
{{- end -}}

{{- define "teletrunk.checksum" -}}
{{- list .Values.database .Values.redis .Values.keys .Values.authority .Values.join .Values.manager.api .Values.storage.telegram | toJson | sha256sum -}}
{{- end -}}
