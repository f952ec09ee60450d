# Hansa's commands. `make demo` needs Rust alone; `make test` sets itself up (see README.md).

CARGO ?= cargo
# bash keeps a variable of this name; only one that is given to make counts.
SECONDS :=

.PHONY: help rust demo build test lint control-plane store-servers bench soak models docs clean

help:
	@echo "make demo           build hansa and watch a league of three members live"
	@echo "make test           everything that proves the project, set-up included"
	@echo "make lint           formatting, clippy, documentation, without tests"
	@echo "make control-plane  build a real kube-apiserver, its controllers, kubectl, etcd and kwok (once)"
	@echo "make store-servers  build real object stores for the tests (once)"
	@echo "make bench          measure; NAMES='edit restart' chooses, SCALE=0.1 shrinks"
	@echo "make soak           simulate 10,000 leagues, or as many as fit: SECONDS=40"
	@echo "make models         exhaust the models of the agreement, the larger ones, too"
	@echo "make docs           write the generated reference pages anew"

build: rust
	$(CARGO) build --release --package hansa

# What is missing on a fresh machine is said before anything fails by itself.
rust:
	@command -v $(CARGO) >/dev/null || { \
	  echo "$(CARGO) is not on the path: install Rust 1.95 or newer (https://rustup.rs), and run this again" >&2; exit 1; }

demo: build
	@./target/release/hansa demo

# Real parts where they can run: the control plane is built from Go modules on the first run (about
# 20 minutes on two cores), the object stores from Go modules and npm (about 5), and kept outside of
# the work tree.
test: lint
	@assets="$$(tools/control-plane)" && stores="$$(tools/store-servers)" && tools/network-namespaces && \
	echo "testing against the control plane in $$assets and the object stores in $$stores" && \
	KUBEBUILDER_ASSETS="$$assets" HANSA_STORE_SERVERS="$$stores" $(CARGO) test --workspace --all-features --no-fail-fast

lint: rust
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-features --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --all-features --no-deps --document-private-items --quiet

control-plane:
	@tools/control-plane

store-servers:
	@tools/store-servers

bench: build
	@assets="$$(tools/control-plane)" && KUBEBUILDER_ASSETS="$$assets" ./target/release/hansa bench $(NAMES) $(if $(SCALE),--scale $(SCALE))

soak:
	$(CARGO) run --release --package hansa-sim -- soak $(if $(SECONDS),--seconds $(SECONDS))

models: rust
	$(CARGO) test --package hansa-ballot --all-features --test model -- --include-ignored --test-threads 1

docs:
	UPDATE_DOCS=1 $(CARGO) test --package hansa-api --test docs

clean:
	$(CARGO) clean
