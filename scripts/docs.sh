#!/bin/sh
# Checks the spelling of all pages, builds the site into bin/docs, and checks the site. A warning of the build is a fault.
# DOCS_BASE is the path at which the site is served, "/" by default.
set -eu
cd "$(dirname "$0")/.."
scripts/node.sh
site=docs/.vitepress

# npm ci is slow, and the packages change seldom.
installed=$site/node_modules/.installed
cmp -s "$site/package-lock.json" "$installed" || {
	npm --prefix "$site" ci --no-audit --no-fund --loglevel error
	cp "$site/package-lock.json" "$installed"
}
npm --prefix "$site" --silent run spelling
log=$(mktemp)
trap 'rm -f "$log"' EXIT
npm --prefix "$site" --silent run build >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
if grep -iE 'warn|\(!\)|deprecat' "$log" >&2; then
	echo 'the build of the site warns' >&2
	exit 1
fi
go test -count=1 -tags site ./test/site
echo "· the site is in bin/docs"
