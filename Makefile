# Everything that is installed goes into .tools, everything that runs keeps its data and logs in .stack.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export SAM_CLI_TELEMETRY := 0
SAM := PATH="$(CURDIR)/.tools/aws/bin:$$PATH" sam
REPAIR = $(PROGRAM) repair $(if $(filter aws,$(TARGET)),--aws)
PROGRAM := cargo run --quiet --package stack --bin stack --

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- the service on this machine -------------------------------------------------------------------------
demo: tools local ## Start the stack afresh, run two ticks of the schedule, and show what happened
	@$(PROGRAM) demo

up: tools local ## Start the stack (MongoDB, AWS, HubSpot simulator, the service) and leave it running
	@$(PROGRAM) up

down: local ## Stop the stack; data and logs stay in .stack
	@$(PROGRAM) down

logs: local ## Show what the functions of the local stack say
	@$(PROGRAM) logs

invoke: tools local ## Give an event to a function in a container beside the stack: FUNCTION=SyncFunction EVENT=events/sync-tick.json
	@$(PROGRAM) invoke $(FUNCTION) $(EVENT)

# --- working on it ---------------------------------------------------------------------------------------
test: tools local hubspot-client-tools schemathesis-tools ## Run all tests, against servers of their own
	@echo "sam build (the first time this compiles everything, for minutes)"
	@$(MAKE) build > .tools/build.log 2>&1 || { tail -n 40 .tools/build.log; exit 1; }
	@RUST_BACKTRACE=0 $(PROGRAM) exec --check-logs cargo test --quiet --workspace --lib --tests

browser: tools local ## Test the status page in Chromium (Debian: apt install chromium chromium-driver); SCREENSHOTS=1 renews docs/images
	@command -v chromedriver >/dev/null || { echo "Chromium's driver is missing; on Debian: apt install chromium chromium-driver"; exit 1; }
	@$(MAKE) build > .tools/build.log 2>&1 || { tail -n 40 .tools/build.log; exit 1; }
	@RUST_BACKTRACE=0 $(PROGRAM) exec --check-logs cargo test --quiet --package tests --features browser --test browser -- --test-threads 1 --nocapture

chaos: tools local ## Try random schedules of everything that can happen: SEEDS=2000, or one: SEED=7
	@$(MAKE) build > .tools/build.log 2>&1 || { tail -n 40 .tools/build.log; exit 1; }
	@SEEDS=$(SEEDS) $(PROGRAM) exec cargo test --quiet --package tests --test it -- --nocapture chaos::

bench: tools local ## Measure how fast the functions are, and print tables
	@$(MAKE) build > .tools/build.log 2>&1 || { tail -n 40 .tools/build.log; exit 1; }
	@cargo build --quiet --profile bench --package tests --bin bench
	@$(PROGRAM) exec target/release/bench $(PART)

bench-peers: tools local ## Run other HubSpot connectors beside this service, on the same simulator (as root)
	@local/tools/install peers
	@$(MAKE) bench PART=peers

watch: tools local build hubspot-client-tools schemathesis-tools cargo-more-tools ## Check, and test again, whenever a file changes
	@.tools/cargo-more/bin/bacon test

coverage: tools local build hubspot-client-tools schemathesis-tools cargo-more-tools ## Run all tests and show how much of the code they reach
	@PATH="$(CURDIR)/.tools/cargo-more/bin:$$PATH" $(PROGRAM) exec cargo tarpaulin --workspace --skip-clean --target-dir target/coverage

lint: cargo-tools ## Formatting, clippy, docs, licences, unused dependencies
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets --locked -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --quiet --workspace --no-deps --locked
	.tools/cargo/bin/cargo-machete
	.tools/cargo/bin/cargo-deny --log-level error check bans licenses sources
	@.ci/advisories

lint-fix: ## Format, and apply clippy's suggestions
	cargo clippy --quiet --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

validate: aws-tools ## Check template.yaml
	$(SAM) validate --lint --region us-east-1

build: aws-tools ## Build the functions for AWS Lambda
	$(SAM) build

sbom: cargo-sbom-tools ## List what the functions are made of, as CycloneDX, in target/sbom
	@rm -rf target/sbom && mkdir -p target/sbom
	@PATH="$(CURDIR)/.tools/cargo-sbom/bin:$$PATH" cargo cyclonedx --quiet --format json --target x86_64-unknown-linux-gnu --manifest-path Cargo.toml
	@for function in scheduler sync actions connect; do mv functions/$$function/*.cdx.json target/sbom/; done
	@find common functions local tests -name '*.cdx.json' -delete
	@ls target/sbom

reproducible: aws-tools ## Build a function twice from nothing, and compare: BINARY=actions
	@.ci/reproducible $(BINARY)

# --- AWS -------------------------------------------------------------------------------------------------
deploy: tools local ## Build and deploy to AWS, with the parameters of .env
	@$(PROGRAM) deploy

migrate: local ## Make the indexes that are missing in the MongoDB of .env
	@$(PROGRAM) migrate

smoke: tools local ## See that a change goes through a deployed stack: STACK=hubspot-sync [TARGET=aws]
	@$(PROGRAM) smoke $(STACK) $(if $(filter aws,$(TARGET)),--aws)

link: local ## Make a link by which a customer connects a HubSpot account: DOMAIN=id [TARGET=aws]
	@$(PROGRAM) link --domain $(DOMAIN) $(if $(filter aws,$(TARGET)),--aws)

token: local ## Show the token of the status page: [TARGET=aws]
	@$(PROGRAM) token $(if $(filter aws,$(TARGET)),--aws)

rotate-keys: local ## Make a new data key and seal all of HubSpot's tokens under it: [TARGET=aws]
	@$(PROGRAM) rotate-keys $(if $(filter aws,$(TARGET)),--aws)

cost: ## Say what the service costs a month: ACCOUNTS=1000 CHANGES_PER_DAY=50000 [TICK_MINUTES=5]
	@$(PROGRAM) cost --accounts $(ACCOUNTS) --changes-per-day $(CHANGES_PER_DAY) --tick-minutes $(TICK_MINUTES)

# --- repair: of the local stack, or with TARGET=aws of the AWS and MongoDB of .env -------------------------
redrive: local ## List what is in the dead-letter queues and why; send it back: SEND=all or ids; or EXPORT=file
	@$(REPAIR) $(if $(SEND),send $(SEND),$(if $(EXPORT),export $(EXPORT),list))

resync: local ## Read an account again: DOMAIN=id HUB=id [LANE=contacts] [FROM=2026-11-01T00:00:00Z]
	@$(REPAIR) resync --domain $(DOMAIN) --hub $(HUB) $(if $(LANE),--lane $(LANE)) $(if $(FROM),--from $(FROM))

pause: local ## Ask nothing of HubSpot for an account: DOMAIN=id HUB=id
	@$(REPAIR) pause --domain $(DOMAIN) --hub $(HUB)

resume: local ## Let a paused account go on: DOMAIN=id HUB=id
	@$(REPAIR) resume --domain $(DOMAIN) --hub $(HUB)

# --- tools -----------------------------------------------------------------------------------------------
tools: ## Install what the stack needs (into .tools, once)
	@local/tools/install

aws-tools:
	@local/tools/install aws

hubspot-client-tools:
	@local/tools/install hubspot-client

schemathesis-tools:
	@local/tools/install schemathesis

cargo-tools:
	@local/tools/install cargo

cargo-sbom-tools:
	@local/tools/install cargo-sbom

cargo-more-tools:
	@local/tools/install cargo-more

# The simulator is a program of its own, which the stack finds beside itself.
local:
	@[ -x target/debug/stack ] || echo "Compiling the programs of the local stack (the first time this takes a few minutes) ..."
	@cargo build --quiet --package stack --package hubspot-sim

FUNCTION ?= SyncFunction
SEEDS ?= 200
STACK ?= hubspot-sync
BINARY ?= actions
ACCOUNTS ?= 1000
CHANGES_PER_DAY ?= 50000
TICK_MINUTES ?= 5
EVENT ?= events/sync-tick.json

.PHONY: help demo up down logs invoke test browser chaos bench bench-peers watch coverage lint lint-fix validate build sbom reproducible deploy migrate smoke link token rotate-keys cost redrive resync pause resume tools aws-tools hubspot-client-tools schemathesis-tools cargo-tools cargo-more-tools cargo-sbom-tools local
