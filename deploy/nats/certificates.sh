#!/bin/sh
# Makes certificates for the routes between NATS servers, which deploy/nats/cluster.conf asks for. It needs openssl and no
# network.
#
#   deploy/nats/certificates.sh FOLDER HOST...
#
# FOLDER gets an authority, ca.crt and ca.key, and a folder for each host with tls.crt, tls.key and ca.crt. A host is the
# name or the IP address in the routes. What exists is kept: to replace a server's certificate, remove its tls.crt, run
# this again and restart the server. The servers do not need ca.key: keep it away from them.
set -eu
umask 077
DAYS=3650

[ $# -ge 2 ] || {
	echo "usage: $0 FOLDER HOST..." >&2
	exit 2
}
dir=$1
shift
mkdir -p "$dir"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/config" <<'CONFIG'
[req]
distinguished_name = name
prompt = no
[name]
CN = Fanmail, routes between NATS servers
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
CONFIG

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# The certificates are moved into place last, so that an interrupted run leaves none without its key.
if [ ! -e "$dir/ca.crt" ]; then
	key "$dir/ca.key"
	openssl req -x509 -new -sha256 -config "$work/config" -extensions authority -days "$DAYS" -key "$dir/ca.key" -out "$work/ca.crt"
	mv "$work/ca.crt" "$dir/ca.crt"
	echo "made an authority"
fi
for host in "$@"; do
	[ ! -e "$dir/$host/tls.crt" ] || continue
	mkdir -p "$dir/$host"
	case $host in
	*:* | *[0-9].*[0-9].*[0-9].*[0-9]) kind=IP ;;
	*) kind=DNS ;;
	esac
	cat >"$work/extensions" <<EXTENSIONS
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = $kind:$host
EXTENSIONS
	key "$dir/$host/tls.key"
	openssl req -new -sha256 -config "$work/config" -key "$dir/$host/tls.key" -out "$work/request"
	openssl x509 -req -sha256 -in "$work/request" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -set_serial "0x$(openssl rand -hex 16)" \
		-extfile "$work/extensions" -days "$DAYS" -out "$work/tls.crt" 2>/dev/null
	cp "$dir/ca.crt" "$dir/$host/ca.crt"
	mv "$work/tls.crt" "$dir/$host/tls.crt"
	echo "made a certificate for $host"
done
