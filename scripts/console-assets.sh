#!/bin/sh
# Fetches the console's vendored assets from npm. The hashes are pinned: a package that differs is refused.
set -eu
cd "$(dirname "$0")/.."
version=2.0.11
tarball=sha512-Thx/WtpeOQqSrqBCw/A1cwGJGg4UrVa3+sW0GmrM3p4gJgO89ecH4qtbnyzDDWFvBTqjnIMCgELTNt636dtamA==
file=d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
npm pack --silent --pack-destination "$dir" "htmx.org@$version" >/dev/null
mv "$dir"/htmx.org-*.tgz "$dir/htmx.tgz"
got=sha512-$(openssl dgst -sha512 -binary "$dir/htmx.tgz" | openssl base64 -A)
[ "$got" = "$tarball" ] || { echo "htmx.org $version has the hash $got, not $tarball" >&2; exit 1; }
tar -xzf "$dir/htmx.tgz" -C "$dir"
echo "$file  $dir/package/dist/htmx.min.js" | sha256sum -c - >/dev/null
cp "$dir/package/dist/htmx.min.js" internal/console/assets/htmx.min.js
cp "$dir/package/LICENSE" internal/console/assets/htmx.LICENSE
echo "htmx $version"
