#!/bin/sh
# Installs PgBouncer if this machine lacks it. The package's own service is not needed.
set -eu

command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] && exit 0
. "$(dirname "$0")/debian.sh"
install PgBouncer https://www.pgbouncer.org pgbouncer
