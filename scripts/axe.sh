#!/bin/sh
# Fetches axe-core from npm, checks its hash, and writes what the tests of the console use to test/browser/testdata.
# Run it after a change of VERSION and HASH; "npm view axe-core dist.integrity" prints the hash of the newest version.
set -eu
cd "$(dirname "$0")/.."

VERSION=4.14.1
HASH=FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "axe-core@$VERSION" >/dev/null)
found=$(openssl dgst -sha512 -binary "$work/axe-core-$VERSION.tgz" | base64 | tr -d '\n')
[ "$found" = "$HASH" ] || {
	echo "axe-core $VERSION has the SHA-512 $found, not $HASH" >&2
	exit 1
}
tar -xzf "$work/axe-core-$VERSION.tgz" -C "$work"
cp "$work/package/axe.min.js" test/browser/testdata/axe.min.js
cp "$work/package/LICENSE" test/browser/testdata/axe-LICENSE
