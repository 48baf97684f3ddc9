# Tools run from the module proxy at pinned versions; nothing is installed.
GOLANGCI  = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOTESTSUM = go run gotest.tools/gotestsum@v1.13.0 --format pkgname
FUZZTIME ?= 30s

.PHONY: all help fmt lint test check race fuzz bench histories correctness synth web screenshots

all: fmt lint test ## format, lint and test

help: ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

fmt: ## format the Go sources
	$(GOLANGCI) fmt ./...

lint: ## run the linters
	$(GOLANGCI) run ./...

test: ## run the tests; what is skipped is listed at the end
	$(GOTESTSUM) -- ./...

check: ## run the tests, where a missing program is a failure
	npm ci --no-audit --no-fund
	cd web && npm ci --no-audit --no-fund
	PRESENCE_TEST_REQUIRE=redis,node,browser,qemu $(GOTESTSUM) -- ./...

race: ## run the tests under the race detector, shuffled
	go test -race -shuffle=on ./...

fuzz: ## run every fuzz target for FUZZTIME
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\).*/\1/p' "$$file"); do \
	    echo "$$target" && go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=5x "$$(dirname "$$file")" || exit 1; \
	  done; \
	done

bench: ## measure, everything side by side
	go run ./cmd/bench

histories: ## check 20,000 simulated histories
	go test ./internal/sim -run Histories -histories 20000 -timeout 1h

correctness: ## measure what is lost, and write docs/correctness.md
	go run ./cmd/correctness

synth: ## synthesize the CloudFormation template
	npx aws-cdk synth

web: ## rebuild the browser client, console and live page
	cd web && npm ci --no-audit --no-fund && npm run build

screenshots: ## make the README's pictures anew
	cd web && npm ci --no-audit --no-fund && npm run screenshots
