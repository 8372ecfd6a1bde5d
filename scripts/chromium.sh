#!/bin/sh
# Installs the headless shell of Chromium, or Chromium, if this machine lacks them. Debian has the shell in a package of its
# own, which tests in half the time of the whole browser. Ubuntu has no such packages but a snap; install that, or Chrome,
# yourself there.
set -eu

! command -v chromium-headless-shell >/dev/null 2>&1 || exit 0
. "$(dirname "$0")/debian.sh"
if grep -qsx ID=debian /etc/os-release; then
	install 'Chromium or Chrome' https://www.chromium.org chromium-headless-shell chromium-sandbox fonts-dejavu-core
	exit 0
fi
for program in chromium chromium-browser google-chrome google-chrome-stable; do
	! command -v "$program" >/dev/null 2>&1 || exit 0
done
[ ! -x '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' ] || exit 0
install 'Chromium or Chrome' https://www.chromium.org chromium chromium-sandbox fonts-dejavu-core
