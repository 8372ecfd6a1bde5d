#!/bin/sh
# Installs Chromium if this machine has neither it nor Chrome. Ubuntu has no such package but a snap; install that, or
# Chrome, yourself there.
set -eu

for program in chromium chromium-browser google-chrome google-chrome-stable; do
	command -v "$program" >/dev/null 2>&1 && exit 0
done
[ ! -x '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' ] || exit 0
. "$(dirname "$0")/debian.sh"
install 'Chromium or Chrome' https://www.chromium.org chromium chromium-sandbox fonts-dejavu-core
