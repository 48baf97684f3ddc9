# Tools run from the module proxy at pinned versions; nothing is installed.
GOLANGCI  = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULN    = go run golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT = go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: all help fmt lint test race e2e fuzz bench correctness synth web screenshots vuln

all: fmt lint test ## format, lint and test

help: ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

fmt: ## format the Go sources
	$(GOLANGCI) fmt ./...

lint: ## run the linters
	$(GOLANGCI) run ./...

test: ## run the tests
	go test ./...

race: ## run the tests under the race detector, shuffled
	go test -race -shuffle=on ./...
