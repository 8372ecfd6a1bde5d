#!/usr/bin/env bash
# Writes the licences and notices of everything that is compiled into the programs of a folder, and of Go itself, as their
# licences ask: scripts/notices.sh DIR. It fails if a module has no licence.
set -euo pipefail
programs=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

# show NAME FILE...: print the files below the name.
show() {
	printf '%s\n%s\n\n' "$1" "${1//?/=}"
	shift
	cat "$@"
	printf '\n\n'
}

echo 'Fanmail is licensed under the Apache License 2.0. Its programs contain the following.'
echo
show "Go $(go env GOVERSION)" "$(go env GOROOT)/LICENSE"
show htmx internal/console/assets/htmx.LICENSE
go version -m "$programs"/* | awk '$1 == "dep" || $1 == "=>" {print $2, $3}' | sort -u | while read -r module version; do
	folder=$(go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	mapfile -t files < <(find "$folder" -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) ! -name '*.go' ! -path '*/testdata/*' | LC_ALL=C sort)
	[ ${#files[@]} -gt 0 ] || {
		echo "$module $version has no licence" >&2
		exit 1
	}
	show "$module $version" "${files[@]}"
done
