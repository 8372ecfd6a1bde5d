#!/bin/sh
# Installs Postgres 15 or later if this machine has none. It does nothing if FANMAIL_DATABASE_URL names a database. It
# starts no server and creates no cluster.
set -eu

MIN=15
PACKAGED=17 # installed if the system's own is too old

say() { printf '· %s\n' "$*" >&2; }
die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

# internal/devserver looks in the same places.
have_postgres() {
	for dir in "$(dirname "$(command -v postgres || echo /nowhere/postgres)")" /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin \
		/usr/local/opt/postgresql*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin; do
		[ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] || continue
		major=$("$dir/postgres" --version | sed -n 's/.*) \([0-9]*\).*/\1/p')
		[ -n "$major" ] && [ "$major" -ge "$MIN" ] && return 0
	done
	return 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		die "installing Postgres needs root: run 'make setup' as root, install sudo, or set FANMAIL_DATABASE_URL"
	fi
}

# Show the output of apt-get and dpkg only if they fail.
apt() {
	log=$(mktemp)
	if as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1; then
		rm -f "$log"
		return
	fi
	cat "$log" >&2
	rm -f "$log"
	die "'apt-get $1' failed: install Postgres $MIN or later, or set FANMAIL_DATABASE_URL to one"
}

# Debian's package creates and starts a cluster. This file prevents that during the installation.
DROPIN=/etc/postgresql-common/createcluster.d/fanmail-setup.conf
remove_dropin() {
	as_root rm -f "$DROPIN"
	as_root rmdir "$(dirname "$DROPIN")" 2>/dev/null || true # unless others use it
}

install_apt() {
	say "Postgres $MIN or later is missing; installing it with apt-get"
	apt update
	as_root mkdir -p "$(dirname "$DROPIN")"
	trap remove_dropin EXIT INT TERM
	echo 'create_main_cluster = false' | as_root tee "$DROPIN" >/dev/null
	candidate=$(apt-cache policy postgresql | sed -n 's/.*Candidate: \([0-9]*\).*/\1/p')
	package=postgresql
	if [ "${candidate:-0}" -lt "$MIN" ]; then
		say "this release has Postgres ${candidate:-none}; adding the packages of apt.postgresql.org"
		apt install -y --no-install-recommends postgresql-common ca-certificates gnupg curl
		as_root /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y >/dev/null
		package=postgresql-$PACKAGED
	fi
	apt install -y --no-install-recommends "$package"
	remove_dropin
	trap - EXIT INT TERM
}

install_brew() {
	say "Postgres $MIN or later is missing; installing it with Homebrew"
	brew install --quiet "postgresql@$PACKAGED"
}

command -v go >/dev/null 2>&1 || die "Go 1.26 or later is missing: https://go.dev/dl"

if [ -n "${FANMAIL_DATABASE_URL:-}" ] || have_postgres; then
	exit 0
fi
case $(uname -s) in
Darwin)
	command -v brew >/dev/null 2>&1 || die "install Homebrew (https://brew.sh), or set FANMAIL_DATABASE_URL to a Postgres $MIN or later"
	install_brew
	;;
*)
	command -v apt-get >/dev/null 2>&1 || die "install Postgres $MIN or later, or set FANMAIL_DATABASE_URL to one"
	install_apt
	;;
esac
have_postgres || die "Postgres was installed, but its binaries were not found: add their directory to PATH"
say "Postgres is there"
