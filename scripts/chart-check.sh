#!/usr/bin/env bash
# Checks the chart, the Dockerfile and the Compose file in deploy/ with the tests in test/chart. Checks that two builds of
# the commands, from different directories, are equal byte for byte, and that --version works. Writes the bill of materials
# to bin/sbom.json.
#
# With EMPTY_CACHE=1 the second build compiles everything anew, as the nightly run does. Without, it takes what Go's cache
# has for its flags: flags that let the directory into the bytes make it compile anew, and are found all the same.
set -euo pipefail
cd "$(dirname "$0")/.."

# Go's cache of test results does not see files of another module, so -count=1 turns it off.
echo '· the chart, Compose and the Dockerfile'
(cd test/chart && go vet ./... && go test -count=1 ./...)

echo '· two builds of the commands'
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir "$work/elsewhere"
git ls-files -z --cached --others --exclude-standard -- ':!test' | xargs -0 cp --parents -t "$work/elsewhere"
export COMMIT=check VERSION=1.2.3-check
deploy/build.sh "$work/out/one"
${EMPTY_CACHE:+env GOCACHE="$work/cache"} "$work/elsewhere/deploy/build.sh" "$work/out/two"
(cd "$work/out/one" && sha256sum -- *) >"$work/sums"
(cd "$work/out/two" && sha256sum --quiet -c "$work/sums") || {
	echo 'the two builds differ'
	exit 1
}
for command in publisher dispatcher ingest api fanmail; do
	said=$("$work/out/one/$command" --version)
	[ "$said" = "$VERSION ($COMMIT)" ] || {
		echo "$command --version says '$said'"
		exit 1
	}
done

echo '· the bill of materials'
mkdir -p bin
go -C test/chart tool cyclonedx-gomod mod -json -output-version 1.5 -output "$PWD/bin/sbom.json" "$PWD" 2>/dev/null
grep -q '"name": "github.com/jackc/pgx/v5"' bin/sbom.json
echo "  $(wc -c <bin/sbom.json) bytes in bin/sbom.json"
