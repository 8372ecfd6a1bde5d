# Fanmail. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: quickstart help setup run demo test build lint generate bench-quick bench bench-latency bench-smtp chaos chaos-long soak pooler milters model replicas replay-long observability-check chart-check console-check console-bench pictures vulns

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X github.com/fanmail-dev/fanmail/internal/app.version=$(VERSION)

# The modules that `make test` tests, the root module first. Go's test cache does not notice changes in another module,
# so the other modules run with -count=1. The tests of test/chart need more tools; `make chart-check` runs them.
MODULES := . test/e2e test/chaos test/bench

# The tests of test/browser need Chromium; `make console-check` runs them.
LINTED := $(MODULES) test/browser

# Tests mostly wait for servers, so more packages than processors run at once.
PARALLEL ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

# The race detector needs a C compiler. CI uses it; set RACE=-race to use it elsewhere.
RACE ?= $(if $(CI),$(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v "$$(go env CC)" >/dev/null 2>&1 && echo -race))

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28

setup: ## install Postgres if this machine has none
	@scripts/setup.sh

run: setup build ## start all processes, show how a mail becomes a webhook, and keep running
	@bin/fanmail demo --stay

demo: setup build ## the same on free ports, then stop; exits 0 only if the webhook's signature is valid
	@bin/fanmail --dir .fanmail/demo demo --api 127.0.0.1:0 --smtp 127.0.0.1:0

test: setup ## vet and test everything, module by module
	@set -e; export FANMAIL_TEST_DATABASE_URL="$${FANMAIL_TEST_DATABASE_URL:-$$FANMAIL_DATABASE_URL}"; \
	fresh=; for module in $(MODULES); do \
		echo "· $$module: go vet $(RACE)"; go -C $$module vet $(RACE) ./...; \
		echo "· $$module: go test $(RACE)"; go -C $$module test $(RACE) $$fresh -vet=off -timeout 30m ./...; \
		fresh=-count=1; \
	done

build: ## build the commands into bin/, with their version
	@echo "· building bin/ ($(VERSION))"
	@mkdir -p bin
	@go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

VULNDB ?= https://vuln.go.dev
vulns: ## check all modules against the Go vulnerability database, if it can be reached
	@go run ./test/vulns --db $(VULNDB) $(LINTED) tools test/chart

lint: ## run golangci-lint
	@lint=$$(go tool -n -modfile=tools/go.mod golangci-lint); root=$$PWD; set -e; \
	for module in $(LINTED); do (cd $$module && "$$lint" run --config "$$root/.golangci.yml" ./...); done

generate: ## update the generated files
	@set -e; for module in . test/e2e; do go -C $$module generate ./...; done

bench-quick: setup build ## run the short benchmark; writes test/bench/results/latest.json
	@cd test/bench && go run . --quick

bench: setup build ## run the whole benchmark; writes test/bench/results/latest.json
	@cd test/bench && go run .

bench-latency: setup build ## run the workloads of endpoints that take time, with River's numbers of workers; short form
	@cd test/bench && go run . --quick --workloads latency --systems fanmail,river,river-2000,river-5000

bench-smtp: setup ## compare the acceptance of mail with Postfix's; needs root, because Postfix does
	@scripts/postfix.sh
	@cd test/bench && go run . smtp

chaos: setup ## inject faults for two minutes, then check that no event was lost
	@go -C test/chaos run . --seed 1

chaos-long: setup ## run chaos for half an hour, with a random seed and the default leases
	@go -C test/chaos run . --long

soak: setup ## run 300 deliveries a second for an hour while partitions rotate; memory and disk use must stay constant
	@go -C test/chaos run . --soak --plot ../../docs/explanation/soak.svg

pooler: setup ## run all of Fanmail through PgBouncer, in session and in transaction mode
	@scripts/pgbouncer.sh
	@go test -count=1 -tags pooler -run Pooler ./cmd/fanmail

milters: setup ## send mail through rspamd, ClamAV and OpenDKIM, and check that their decisions are obeyed
	@scripts/milters.sh
	@go test -count=1 -tags milters -run RealMilters ./internal/ingest

model: ## check the model of one delivery with spin, and that each of its guards is needed
	@scripts/spin.sh
	@go test -count=1 -timeout 20m -tags model ./test/model

replicas: setup ## start and stop dispatchers for two minutes, with a million due rows for endpoints that do not answer
	@FANMAIL_LONG=1 go -C test/e2e test -count=1 -parallel 1 -v -run 'TestCapsAndOrderHold|TestABacklogOfTheDead' .

replay-long: setup ## replay 100,000 events beside 200 live events a second, with a cancel and a kill; then reset the fan-out consumer
	@FANMAIL_LONG=1 go -C test/e2e test -count=1 -v -timeout 40m -run TestAReplayUnderLiveTraffic .
	@FANMAIL_LONG=1 go test -count=1 -v -timeout 40m -run TestResettingTheFanoutConsumerSendsNothing ./internal/replay

observability-check: setup ## run the dashboard's queries and the alerts on a real Prometheus that scrapes a real Fanmail
	@go -C test/e2e run ./observability --prometheus "$$(scripts/prometheus.sh)"

quickstart: setup build ## run the commands of the tutorials, each in an empty folder
	@scripts/quickstart.sh docs/tutorials/quickstart.md
	@scripts/quickstart.sh docs/tutorials/receive-mail-for-a-domain.md

console-check: setup ## walk the console in Chromium, which is installed if missing: pages, hostile mails, accessibility
	@scripts/chromium.sh
	@go -C test/browser vet $(RACE) ./...
	@go -C test/browser test $(RACE) -count=1 -vet=off -timeout 20m ./...

console-bench: setup ## measure the console's pages with ten million deliveries beside 200 live ones a second; takes 8 GB of disk
	@go -C test/browser test -tags consolebench -count=1 -vet=off -timeout 30m -v -run TestPagesWithTenMillionDeliveries .

pictures: setup ## record the terminal and photograph the console for README and docs; needs the ports 8080 and 2525
	@scripts/recording.sh
	@scripts/chromium.sh
	@go -C test/browser test -tags pictures -count=1 -vet=off -timeout 10m -run TestPicturesOfTheConsole .

chart-check: ## check the chart, Compose, the Dockerfile and reproducible builds with the real tools
	@scripts/chart-check.sh
