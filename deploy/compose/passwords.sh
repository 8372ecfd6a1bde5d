#!/bin/sh
# Runs in the Postgres image at its first start, after roles.sql. It sets the roles' passwords and creates the owner's
# database.
set -eu
for role in owner publisher dispatcher ingest api; do
	eval "password=\$FANMAIL_$(echo "$role" | tr a-z A-Z)_PASSWORD"
	psql -v ON_ERROR_STOP=1 -v role="fanmail_$role" -v password="$password" -U postgres <<-'SQL'
		ALTER ROLE :"role" PASSWORD :'password';
	SQL
done
psql -v ON_ERROR_STOP=1 -U postgres -c 'CREATE DATABASE fanmail OWNER fanmail_owner'
