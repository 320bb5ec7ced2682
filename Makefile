# Each target first installs what it lacks (see .ci/need), so that a bare Debian with Rust will do.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: demo test prove bench lint install help

# Arguments of the demo: `make demo ARGS="--for 10s"`.
ARGS ?=
# cmake builds zlib-ng, a dependency of the proxy.
BUILD := cargo cc make cmake
# Debug builds throughout: dependencies are optimised in them too, `demo` and `test` share every
# object, and the release profile's link-time optimisation takes minutes that a first look lacks.
# What must be fast is built for release: `bench` and `install`.
CARGO_FLAGS := --locked
# One test opens a thousand connections from both ends; many systems allow a process 1,024 files.
MANY_FILES := ulimit -S -n "$$(ulimit -H -n)" || true

demo: ## See it ring: an API that changes each second, a receiver, a proxied route. No config, no network
	@.ci/need $(BUILD)
	@cargo run $(CARGO_FLAGS) -- demo $(ARGS)

test: ## Every test, in less than 15 minutes on 2 cores
	@.ci/need $(BUILD) judges promtool
	@$(MANY_FILES); cargo test $(CARGO_FLAGS)

prove: ## The integration tests at full length, 200 kills instead of 20; what adaptive polling is worth
	@.ci/need $(BUILD) judges promtool
	@$(MANY_FILES); DOORBELL_PROVE=1 cargo test $(CARGO_FLAGS) --test it -- --nocapture
	@cargo run $(CARGO_FLAGS) --release --example simulate -- tests/it/changes-90d.csv --prove

bench: ## Figures, each beside a naive baseline from the same run
	@.ci/need $(BUILD)
	@$(MANY_FILES); cargo bench $(CARGO_FLAGS)

lint: ## Format, clippy, documentation, licences, the rules of the house
	@.ci/need $(BUILD) lints cargo-deny
	@cargo fmt --check
	@cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --no-deps
	@PATH="$$PATH:$$PWD/target/venv/bin" cargo deny --locked check bans licenses sources
	@cargo test $(CARGO_FLAGS) --test it tidy

install: ## Build for release and put `doorbell` into cargo's bin folder
	@.ci/need $(BUILD)
	@cargo install $(CARGO_FLAGS) --path .

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
