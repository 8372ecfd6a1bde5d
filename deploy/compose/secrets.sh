#!/bin/sh
# Prints new passwords for deploy/compose.yaml, and the key that encrypts secrets of webhooks in the database. Run it once:
#
#   deploy/compose/secrets.sh > deploy/.env
#
# Keep a copy of FANMAIL_SECRETS_KEY apart from backups of the database: without it the secrets are lost.
set -eu
for name in POSTGRES OWNER PUBLISHER DISPATCHER INGEST API GRAFANA \
	NATS_PUBLISHER NATS_DISPATCHER NATS_INGEST NATS_EDGE NATS_API NATS_OPERATOR NATS_ROUTE; do
	printf 'FANMAIL_%s_PASSWORD=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
done

# A keyset with one AES-256-GCM key, as 'fanmail secrets new-key' prints it. The two bytes before the key's 32 are the
# number and the length of the field in Tink's message.
id=$(od -An -N4 -tu4 /dev/urandom | tr -d ' \n')
value=$({ printf '\032\040'; head -c 32 /dev/urandom; } | base64 | tr -d '\n')
keyset=$(printf '{"primaryKeyId":%s,"key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink.AesGcmKey","value":"%s","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":%s,"outputPrefixType":"TINK"}]}' \
	"$id" "$value" "$id" | base64 | tr -d '\n')
printf 'FANMAIL_SECRETS_KEY=%s\n' "$keyset"
