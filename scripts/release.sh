#!/usr/bin/env bash
# Makes what a release publishes in bin/release: packages, archives, a bill of materials, images and checksums. The same
# commit gives the same bytes. It needs no network but Go's module proxy: without FANMAIL_IMAGES=REGISTRY/PATH, to which
# images are pushed, they are built on an empty base into an OCI layout. Arguments are the platforms, by default all.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- linux_amd64 linux_arm64 darwin_amd64 darwin_arm64
linux=()
for platform in "$@"; do
	[ "${platform%_*}" != linux ] || linux+=("${platform#*_}")
done
. scripts/release-env.sh
out=$PWD/bin/release
rm -rf "$out"
mkdir -p "$out"

echo '· packages'
scripts/packages.sh "${linux[@]}"
cp bin/package/*.deb bin/package/*.rpm "$out/"

echo '· archives'
for platform in "$@"; do
	name=fanmail_${VERSION}_$platform
	tree=bin/package/archive/$name
	mkdir -p "$tree"
	[ -d "bin/package/$platform" ] || GOOS=${platform%_*} GOARCH=${platform#*_} deploy/build.sh "bin/package/$platform"
	cp -p "bin/package/$platform"/* LICENSE CHANGELOG.md bin/package/THIRD-PARTY.txt "$tree/"
	cp -r bin/package/completions bin/package/man "$tree/"
	sed -i 's|/usr/bin/fanmail|fanmail|' "$tree"/completions/* # wherever it will lie
	tar --create --directory=bin/package/archive --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
		--mode=u=rwX,go=rX "$name" | gzip -n >"$out/$name.tar.gz"
done

echo '· bill of materials'
"$(go tool -n -modfile=tools/release/go.mod cyclonedx-gomod)" mod -licenses -json -noserial -output-version 1.5 -output "$out/fanmail.sbom.json" . 2>/dev/null
# The time of the commit takes the place of the time of the run.
sed -i "s|\"timestamp\": \"[^\"]*\"|\"timestamp\": \"$(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)\"|" "$out/fanmail.sbom.json"
grep -q '"name": "github.com/jackc/pgx/v5"' "$out/fanmail.sbom.json"

echo '· images'
images=$(printf ',linux/%s' "${linux[@]}")
commands=(./cmd/{publisher,dispatcher,ingest,api,fanmail})
for command in "${commands[@]}"; do # ko puts this folder into the image
	mkdir -p "$command/kodata"
	cp LICENSE bin/package/THIRD-PARTY.txt "$command/kodata/"
done
ko=$(go tool -n -modfile=tools/release/go.mod ko)
if [ -n "${FANMAIL_IMAGES:-}" ]; then
	KO_DOCKER_REPO=$FANMAIL_IMAGES "$ko" build --platform "${images:1}" --base-import-paths --tags "$VERSION" --sbom spdx --image-refs "$out/refs.txt" "${commands[@]}"
	# As sha256sum writes it, for the provenance.
	sed -E "s/^(.*)@sha256:(.*)$/\2  \1/" "$out/refs.txt" >"$out/images.txt"
	rm "$out/refs.txt"
else
	go -C tools/release run ./_emptybase -- "$ko" build --platform "${images:1}" --base-import-paths --push=false --oci-layout-path "$out/images" --sbom none "${commands[@]}"
fi

(cd "$out" && find . -maxdepth 1 -type f ! -name checksums.txt ! -name images.txt -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >checksums.txt)
cat "$out/checksums.txt"
