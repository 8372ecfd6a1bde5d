# Fanmail. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: quickstart help setup run demo test build lint generate bench-quick bench chaos chaos-long soak replicas replay-long observability-check chart-check

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X github.com/fanmail-dev/fanmail/internal/app.version=$(VERSION)

# The modules that `make test` tests, the root first. Go's cache of test results does not see files of another module, so
# the others run without it. test/chart has tests that need its tools; `make chart-check` runs them.
MODULES := . test/e2e test/chaos test/bench

# The race detector needs a C compiler. It is on in CI, or with RACE=-race.
RACE ?= $(if $(CI),$(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v "$$(go env CC)" >/dev/null 2>&1 && echo -race))

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28

setup: ## install what is missing on this machine: Postgres
	@scripts/setup.sh

run: setup build ## start all of Fanmail, show how a mail becomes a webhook, and keep running
	@bin/fanmail demo --stay

demo: setup build ## the same on free ports, then stop; exit 0 only if the webhook verified
	@bin/fanmail --dir .fanmail/demo demo --api 127.0.0.1:0 --smtp 127.0.0.1:0

test: setup ## vet and test everything, module by module
	@set -e; export FANMAIL_TEST_DATABASE_URL="$${FANMAIL_TEST_DATABASE_URL:-$$FANMAIL_DATABASE_URL}"; \
	fresh=; for module in $(MODULES); do \
		echo "· $$module: go vet $(RACE)"; go -C $$module vet $(RACE) ./...; \
		echo "· $$module: go test $(RACE)"; go -C $$module test $(RACE) $$fresh -vet=off -timeout 30m ./...; \
		fresh=-count=1; \
	done

build: ## build the commands into bin/, with the version stamped in
	@echo "· building bin/ ($(VERSION))"
	@mkdir -p bin
	@go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

lint: ## run golangci-lint
	@lint=$$(go tool -n -modfile=tools/go.mod golangci-lint); root=$$PWD; set -e; \
	for module in $(MODULES); do (cd $$module && "$$lint" run --config "$$root/.golangci.yml" ./...); done

generate: ## write the generated files
	@set -e; for module in . test/e2e; do go -C $$module generate ./...; done

bench-quick: setup build ## the short benchmark; writes test/bench/results/latest.json
	@cd test/bench && go run . --quick

bench: setup build ## the whole benchmark; writes test/bench/results/latest.json
	@cd test/bench && go run .

chaos: setup ## inject faults for two minutes, then check that no event was lost
	@go -C test/chaos run . --seed 1

chaos-long: setup ## the same for half an hour, with a random seed and the default leases
	@go -C test/chaos run . --long

soak: setup ## an hour at 300 deliveries a second while partitions rotate; memory and disk use must stay flat
	@go -C test/chaos run . --soak --plot ../../docs/explanation/soak.svg

replicas: setup ## start and stop dispatchers for two minutes, with a backlog of a million rows for dead endpoints
	@FANMAIL_LONG=1 go -C test/e2e test -count=1 -parallel 1 -v -run 'TestCapsAndOrderHold|TestABacklogOfTheDead' .

replay-long: setup ## replay 100,000 events beside 200 live ones a second, with a cancel and a kill; reset the fan-out over as many
	@FANMAIL_LONG=1 go -C test/e2e test -count=1 -v -timeout 40m -run TestAReplayUnderLiveTraffic .
	@FANMAIL_LONG=1 go test -count=1 -v -timeout 40m -run TestResettingTheFanoutConsumerSendsNothing ./internal/replay

observability-check: setup ## run the dashboard's queries and the alerts on a real Prometheus that scrapes a real Fanmail
	@go -C test/e2e run ./observability --prometheus "$$(scripts/prometheus.sh)"

quickstart: setup build ## run the commands of docs/tutorials/quickstart.md in an empty folder
	@scripts/quickstart.sh

chart-check: ## check the chart, Compose, the Dockerfile and reproducible builds with the real tools
	@scripts/chart-check.sh
