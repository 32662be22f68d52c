# The only task runner: CI calls nothing else. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
HOST   := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
CARGO  := cargo
FLAGS  := --locked --manifest-path proxy/Cargo.toml --target $(HOST)
PROXY  := target/$(HOST)/release/gossamer-proxy
say     = @printf '\033[1m==> %s\033[0m\n' "$(1)"

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/ready $(PROXY) ## the mesh, live, on this machine
	@$(BIN)/gossamer demo

test: unit mesh wheel-test ## every test of a normal run
	@echo "make test: everything passed"

check: $(VENV)/ready ## format, lint, types, imports
	$(call say,Python: format$(comma) lint$(comma) types$(comma) imports)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(call say,Rust: format$(comma) lint)
	$(CARGO) fmt --manifest-path proxy/Cargo.toml --all --check
	$(CARGO) clippy -q $(FLAGS) --workspace --all-targets -- -D warnings
	$(call say,versions at or above their floors)
	$(BIN)/python tools/floors.py
	@echo "make check: everything passed"

unit: $(VENV)/ready ## unit tests, laws, contracts, golden cases; no mesh is started
	$(call say,Rust tests)
	$(CARGO) test --no-run $(FLAGS) --workspace
	$(CARGO) test -q $(FLAGS) --workspace
	$(call say,Python tests)
	$(BIN)/python -m tests.etcd
	$(BIN)/pytest tests/unit tests/laws tests/contract tests/golden -n 2 -rs

mesh: $(VENV)/ready $(PROXY) gauge ## real control plane, real sidecars, real programs
	$(call say,mesh tests)
	$(BIN)/python -m tests.mesh.programs
	$(BIN)/pytest tests/mesh tests/gates -rs
ifeq ($(shell id -u),0)
	$(call say,mesh tests as an ordinary user)
	$(BIN)/python -m tests.mesh.ordinary $(BIN)/pytest tests/mesh -rs -p no:cacheprovider
endif

soak: $(VENV)/ready $(PROXY) ## certificates under load, for hours; SCENES="lives issuers anchors year", LENGTH=0.1, RATE=
	$(BIN)/python -m tests.soak $(SCENES)

gauge: ## the pair of sidecars whose system calls, allocations and instructions tests/gates counts
	$(call say,gauge (release))
	@$(CARGO) build --release $(FLAGS) -p gossamer-proxy --example gauge

wheel: $(VENV)/ready ## dist/gossamer-*.whl, both programs in one file
	$(BIN)/pip wheel -q --no-deps -w dist .
	@ls -l dist/*.whl

wheel-test: wheel ## install the wheel into an empty environment and run the demo from it
	$(BIN)/pytest tests/wheel -rs

bench: $(VENV)/ready $(PROXY) ## CPU per request, latency and memory beside peers; about five minutes
	$(BIN)/python -m benchmarks

fuzz: ## every parser against a million mutated inputs; EXECUTIONS= and SEED= change that
	$(CARGO) run $(FLAGS) -p fuzz --profile fuzz -- --executions $(or $(EXECUTIONS),1000000) --seed $(or $(SEED),1)

golden: $(VENV)/ready ## write golden/*.out.json anew; read the diff before committing
	$(BIN)/python -m tests.golden.regenerate

fmt: $(VENV)/ready ## format both languages
	$(BIN)/ruff format . && $(BIN)/ruff check --fix -q .
	$(CARGO) fmt --manifest-path proxy/Cargo.toml --all

stubs: $(VENV)/ready ## protobuf modules, from the same files the sidecar uses
	$(BIN)/python tools/stubs.py

clean: ## remove everything that was built
	rm -rf $(VENV) target dist src/gossamer/pb

# A private environment from the lock file; `gossamer` in it runs the checkout.
$(VENV)/ready: requirements.lock tools/stubs.py tools/environment.py $(wildcard proto/gossamer/v1/*.proto)
	$(call say,Python environment in $(VENV))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@command -v cargo >/dev/null || { echo "cargo is needed: install Rust (rustup.rs)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --require-hashes -r requirements.lock
	@$(BIN)/python tools/environment.py
	@$(BIN)/python tools/stubs.py
	@touch $@

# Cargo knows what has changed; it is asked every time.
$(PROXY): FORCE
	$(call say,gossamer-proxy (release))
	@$(CARGO) build --release $(FLAGS) -p gossamer-proxy

comma := ,
FORCE:
.PHONY: help demo test check unit mesh soak gauge wheel wheel-test bench golden fmt stubs clean FORCE
