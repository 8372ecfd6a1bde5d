#!/bin/sh
# Installs Node and npm if this machine lacks them.
set -eu

command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 && exit 0
. "$(dirname "$0")/debian.sh"
install 'Node 18 or later, with npm' https://nodejs.org nodejs npm
