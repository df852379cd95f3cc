# What a developer does with this repository. `make` alone lists it.
#
# Needs: Debian (or a system with apt-get), Rust by rustup, Go, a C compiler and make. OpenSSL's headers, which librdkafka is built
# with, are installed before the first build where they are missing. Everything else is fetched from the
# package registries by `make install`, which says what it installs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Two at a time: linking several test binaries at once is what fills the memory of a small machine.
export CARGO_BUILD_JOBS ?= 2

# Most tests wait for servers rather than compute.
export RUST_TEST_THREADS ?= 4

# Things that are slow to make and belong to no clone: the test bed's control plane, and CI's build directory.
SAKIDORI_CACHE ?= $(HOME)/.cache/sakidori
export SAKIDORI_CACHE

# CI runs in a fresh clone each time; with its build directory outside, only this workspace's crates are built again.
# Incremental state would never be reused there, so it isn't written.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(SAKIDORI_CACHE)/target
export CARGO_INCREMENTAL ?= 0
else
export CARGO_TARGET_DIR ?= $(CURDIR)/target
endif

DEBUG := $(CARGO_TARGET_DIR)/debug
RELEASE := $(CARGO_TARGET_DIR)/release

# `make demo KEEP=1` is `make demo ARGS=--keep`.
ARGS ?=
ifdef KEEP
DEMO_ARGS := --keep $(ARGS)
else
DEMO_ARGS := $(ARGS)
endif

# What the build itself needs besides: librdkafka links OpenSSL, which pkg-config finds.
HEADERS := /usr/include/openssl/ssl.h
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help headers install build image test demo demo-sale demo-resize pictures bench lint lint-features docs crds clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The whole workspace in one go: building a single package would choose other features for shared dependencies, and so
# compile them twice.
build: headers ## build everything, for development (target/debug/sakidori)
	cargo build --workspace --bins

headers:
	@test -e $(HEADERS) && command -v pkg-config >/dev/null || { \
		echo "installing libssl-dev and pkg-config, which librdkafka is built with"; \
		$(SUDO) apt-get install -y -q --no-install-recommends libssl-dev pkg-config \
			|| { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q --no-install-recommends libssl-dev pkg-config; }; }

image: ## build the image with docker, podman or buildah, whichever is there (IMAGE=registry.example.com/sakidori:1)
	@image/make.sh

install: build ## install what tests and demo need: a control plane, fake nodes, RabbitMQ, Kafka, PostgreSQL, Moto, buildah (says what it installs)
	$(DEBUG)/test-cluster install

# What takes the processors for long, or measures times, runs by itself: the build of the image first, the cases of isolation and of failover
# last, one after the other. What they measure is shown. Each runs whatever became of the others, so that one run shows all that is wrong.
test: install ## run all tests, against real servers on loopback
	export SAKIDORI_BIN=$(DEBUG)/sakidori; failed=0; \
	cargo test --workspace --test e2e -- image:: --nocapture || failed=$$?; \
	cargo test --workspace --no-fail-fast -- --skip image:: --skip isolation:: --skip failover:: || failed=$$?; \
	cargo test --workspace --test e2e -- isolation:: failover:: --test-threads 1 --nocapture || failed=$$?; \
	exit $$failed

demo: install ## watch a real queue scale a real Deployment 0 -> N -> 0 (KEEP=1 leaves it running)
	SAKIDORI_BIN=$(DEBUG)/sakidori $(DEBUG)/demo $(DEMO_ARGS)

demo-sale: install ## watch services prepare for a sale two minutes away; under 7 minutes (ARGS=--quick for under 5)
	SAKIDORI_BIN=$(DEBUG)/sakidori $(DEBUG)/demo-sale $(DEMO_ARGS)

demo-resize: install ## watch pods grow for a sale in a minute and go back after it; under 3 minutes (ARGS=--long-sale for 8)
	SAKIDORI_BIN=$(DEBUG)/sakidori $(DEBUG)/demo-resize $(DEMO_ARGS)

pictures: install ## draw the dashboards from a real run into docs/pictures/; about 11 minutes
	SAKIDORI_BIN=$(DEBUG)/sakidori $(DEBUG)/pictures $(ARGS)

bench: headers ## 200 ScaledObjects at once, a sale, 200 pods that start: time, API writes and memory (ARGS="--only resize" for one)
	cargo build --release --workspace --bins
	$(RELEASE)/test-cluster install
	SAKIDORI_BIN=$(RELEASE)/sakidori $(RELEASE)/bench $(ARGS)

lint: build ## check formatting, lints and the links between documents
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(MAKE) --no-print-directory lint-features
	SAKIDORI_BIN=$(DEBUG)/sakidori cargo test -p sakidori-tests --test e2e -- architecture:: repository::

# A build with one source's trigger types only has to work, and one with none. Whatever else it leaves out is left out there, too.
lint-features:
	cargo clippy -p sakidori-scalers --all-targets --no-default-features --features rabbitmq -- -D warnings
	cargo clippy -p sakidori --no-default-features -- -D warnings

docs: build ## write the reference pages in docs/ and the chart's CRDs from the code
	$(DEBUG)/sakidori crds --dir charts/sakidori/files/crds
	SAKIDORI_UPDATE=1 SAKIDORI_BIN=$(DEBUG)/sakidori cargo test -p sakidori-tests --test e2e -- repository::reference

crds: build ## print the custom resource definitions, for kubectl apply --server-side -f -
	@$(DEBUG)/sakidori crds

clean: ## remove what was built here (not the caches in ~/.cache/sakidori)
	cargo clean
