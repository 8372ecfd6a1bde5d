#!/bin/sh
# Installs PgBouncer if this machine lacks it. The package's own service is not needed.
set -eu

command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] && exit 0
command -v apt-get >/dev/null 2>&1 || {
	echo 'pgbouncer: install PgBouncer (https://www.pgbouncer.org)' >&2
	exit 1
}
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq
# Without this file, the package starts a server of its own.
policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] && policy= || {
	printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
	$sudo chmod +x "$policy"
}
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends pgbouncer >/dev/null
[ -z "$policy" ] || $sudo rm -f "$policy"
