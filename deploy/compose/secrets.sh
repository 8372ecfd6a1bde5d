#!/bin/sh
# Prints new passwords for deploy/compose.yaml. Run it once:
#
#   deploy/compose/secrets.sh > deploy/.env
set -eu
for name in POSTGRES OWNER PUBLISHER DISPATCHER INGEST API GRAFANA \
	NATS_PUBLISHER NATS_DISPATCHER NATS_INGEST NATS_EDGE NATS_API NATS_OPERATOR NATS_ROUTE; do
	printf 'FANMAIL_%s_PASSWORD=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
done
