#!/bin/sh
# Installs rspamd, ClamAV and OpenDKIM if this machine lacks them. The packages' own services and ClamAV's database are
# not needed.
set -eu

there() {
	for program in rspamd clamd clamav-milter opendkim; do
		command -v "$program" >/dev/null 2>&1 || [ -x "/usr/sbin/$program" ] || return 1
	done
}

there && exit 0
. "$(dirname "$0")/debian.sh"
install 'rspamd, ClamAV (clamd and clamav-milter) and OpenDKIM' https://rspamd.com rspamd clamav-daemon clamav-milter opendkim
