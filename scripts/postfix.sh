#!/bin/sh
# Installs Postfix if this machine lacks it. The package's own service is not needed.
set -eu

command -v smtp-source >/dev/null 2>&1 && exit 0
[ -x /usr/sbin/smtp-source ] && exit 0
. "$(dirname "$0")/debian.sh"
install Postfix https://www.postfix.org postfix
