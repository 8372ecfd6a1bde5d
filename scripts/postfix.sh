#!/bin/sh
# Installs Postfix if this machine lacks it. The package's own service is not needed.
set -eu

command -v smtp-source >/dev/null 2>&1 && exit 0
[ -x /usr/sbin/smtp-source ] && exit 0
command -v apt-get >/dev/null 2>&1 || {
	echo 'postfix: install Postfix (https://www.postfix.org)' >&2
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
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postfix >/dev/null
[ -z "$policy" ] || $sudo rm -f "$policy"
