#!/bin/sh
# Installs spin, the model checker, and a C compiler for what it generates, if this machine lacks them.
set -eu

command -v spin >/dev/null 2>&1 && command -v cc >/dev/null 2>&1 && exit 0
. "$(dirname "$0")/debian.sh"
install 'spin and a C compiler' https://spinroot.com spin gcc libc6-dev
