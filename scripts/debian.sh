# Read by the scripts that install something on Debian or Ubuntu.

# install WHAT URL PACKAGE...: install the packages, or say what to install on another system. Packages start no server
# of their own.
install() {
	command -v apt-get >/dev/null 2>&1 || {
		echo "$(basename "$0"): install $1 ($2)" >&2
		exit 1
	}
	shift 2
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -qq
	policy=/usr/sbin/policy-rc.d
	[ -e "$policy" ] && policy= || {
		printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
		$sudo chmod +x "$policy"
	}
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
	[ -z "$policy" ] || $sudo rm -f "$policy"
}
