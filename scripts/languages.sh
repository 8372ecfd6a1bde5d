#!/bin/sh
# Installs what the packages in receivers/ and clients/ are tested with, if this machine lacks it: Node with npm, Python,
# and uvicorn and mypy for it.
set -eu

"$(dirname "$0")/node.sh"
for python in python3 /usr/bin/python3; do
	! "$python" -c 'import uvicorn, mypy' 2>/dev/null || exit 0
done
. "$(dirname "$0")/debian.sh"
install 'Python 3.9 or later, uvicorn and mypy' https://mypy-lang.org python3 python3-uvicorn mypy
