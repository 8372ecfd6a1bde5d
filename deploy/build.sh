#!/bin/sh
# Builds the commands for an image: deploy/build.sh DIR. The same sources and commit give the same bytes on every machine
# and at every time. COMMIT names the commit, and VERSION what it is a release or a snapshot of; GOOS and GOARCH choose the platform.
set -eu
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
CGO_ENABLED=0 GOFLAGS= go build -trimpath -buildvcs=false -mod=readonly \
	-ldflags "-s -w -buildid= -X github.com/fanmail-dev/fanmail/internal/app.commit=${COMMIT:-unknown}${VERSION:+ -X github.com/fanmail-dev/fanmail/internal/app.version=$VERSION}" \
	-o "$out/" ./cmd/publisher ./cmd/dispatcher ./cmd/ingest ./cmd/api ./cmd/fanmail
# The image's layers contain the files' times.
[ -z "${SOURCE_DATE_EPOCH:-}" ] || touch -d "@$SOURCE_DATE_EPOCH" "$out"/*
