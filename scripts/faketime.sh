#!/bin/sh
# Installs libfaketime, with which the chaos test steps Postgres's clock, if this machine is a Debian or Ubuntu without it.
# Elsewhere the test leaves those faults out and says so.
set -eu

command -v apt-get >/dev/null 2>&1 || exit 0
ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 && exit 0
. "$(dirname "$0")/debian.sh"
install libfaketime https://github.com/wolfcw/libfaketime libfaketime
