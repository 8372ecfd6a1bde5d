#!/bin/sh
# Installs spin, the model checker, and a C compiler for what it generates, if this machine lacks them.
set -eu

command -v spin >/dev/null 2>&1 && command -v cc >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || {
	echo 'spin: install spin (https://spinroot.com) and a C compiler' >&2
	exit 1
}
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends spin gcc libc6-dev >/dev/null
