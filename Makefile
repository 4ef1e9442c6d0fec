# The front doors. Each does its own set-up on a fresh machine.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

CARGO ?= cargo
PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
RESPGATE_SERVERS ?= $(abspath $(TARGET))/servers
export RESPGATE_SERVERS

FETCH := $(PYTHON) tests/servers/fetch.py
DIST := $(TARGET)/dist
# One line over all test programs.
SUMMARY := awk '/^test result:/ { p += $$4; f += $$6; s += $$8 } \
	END { printf "%d passed, %d failed, %d skipped\n", p, f, s }' $(TARGET)/test.log
DENY_VERSION := 0.20.2

.PHONY: help demo test soak bench instructions lint deny dist

help:
	@echo 'make demo   a Redis 5, the proxy in front of it and a guided tour (ONCE=1: the tour alone, then exit)'
	@echo 'make test   every test, against real Redis servers and clients that it fetches itself'
	@echo 'make soak   ten minutes of everything at once (SECONDS=…), with a table; and what else takes longer: all of redis-py's own tests through respgate, and every client on shared connections, and what else there is on dedicated ones'
	@echo 'make bench  respgate beside Envoy, HAProxy and others (BENCH, PEERS, ROUNDS, DURATION: see benches/compare/__main__.py)'
	@echo 'make instructions  of the benchmarks the one that counts, by callgrind (UPDATE=1: a new baseline)'
	@echo 'make lint   formatting, clippy, documentation, dependencies (DENY=0 leaves out the last)'
	@echo 'make dist   what is installed, laid out under $(DIST)'

# The program starts the server that it is told of, so the tour shows the legacy case.
demo:
	@$(FETCH) --only 5.0.6
	$(CARGO) build --release --locked
	@RESPGATE_REDIS_SERVER="$$($(FETCH) --print 5.0.6)" $(TARGET)/release/respgate demo $(if $(ONCE),--once)

# Two more tests at once than there are cores: scenarios wait more than they work.
test: export RUST_TEST_THREADS := $(or $(RUST_TEST_THREADS),$(shell expr $$(getconf _NPROCESSORS_ONLN) + 2))
test:
	@$(FETCH)
	@mkdir -p $(TARGET)
	RESPGATE_TEST_REDIS_7="$$($(FETCH) --print 7.0.15)" RESPGATE_TEST_REDIS_8="$$($(FETCH) --print 8.2.3)" \
		$(CARGO) test --locked --no-fail-fast 2>&1 | tee $(TARGET)/test.log || { $(SUMMARY); exit 1; }
	@$(MAKE) --no-print-directory dist
	@tests/dist.sh $(DIST)
	@$(SUMMARY)

soak:
	@$(FETCH)
	RESPGATE_SOAK_SECONDS=$(or $(SECONDS),600) $(CARGO) test --locked --test scenarios soak:: -- --nocapture
	RESPGATE_TEST_SOAK=1 $(CARGO) test --locked --test scenarios client_matrix -- --nocapture
	RESPGATE_TEST_REDIS_7="$$($(FETCH) --print 7.0.15)" RESPGATE_TEST_REDIS_8="$$($(FETCH) --print 8.2.3)" \
		RESPGATE_TEST_CONNECTIONS=dedicated $(CARGO) test --locked --test scenarios -- --skip client_matrix

# Peers that can't be had are left out, and the table says so.
bench:
	@$(FETCH) --only 7.0.15,benchmark
	@$(FETCH) --only envoy,haproxy,nginx,stunnel,hitch || true
	CARGO='$(CARGO)' $(PYTHON) -B benches/compare

# Part of `make bench`, alone.
instructions:
	$(CARGO) bench --locked --bench instructions -- $(if $(UPDATE),--update)

lint: deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items
	@echo 'make lint: passed'

# Advisories come from a database that must be downloaded; without it the rest is still checked.
deny:
ifneq ($(DENY),0)
	@tools="$(abspath $(TARGET))/tools"; PATH="$$tools/bin:$$PATH"; export PATH; \
	if ! cargo-deny --version >/dev/null 2>&1; then \
		echo 'lint: installing cargo-deny into $(TARGET)/tools'; \
		$(CARGO) install --quiet --locked --version $(DENY_VERSION) --root "$$tools" cargo-deny \
			|| { echo 'lint: cargo-deny cannot be installed here; DENY=0 leaves it out' >&2; exit 1; }; \
	fi; \
	cargo-deny --locked --config .deny.toml check --hide-inclusion-graph bans licenses sources; \
	if cargo-deny --config .deny.toml fetch db >/dev/null 2>&1; then \
		cargo-deny --locked --offline --config .deny.toml check advisories; \
	else \
		echo 'lint: the advisory database cannot be fetched from here: advisories were NOT checked'; \
	fi
endif

# The tree that the image holds and that packages are made from. What is in etc/ is where a
# container starts; the other examples are documentation.
dist:
	$(CARGO) build --release --locked
	rm -rf $(DIST)
	install -D -m 0755 $(TARGET)/release/respgate $(DIST)/usr/local/bin/respgate
	install -D -m 0644 -t $(DIST)/usr/share/doc/respgate LICENSE README.md CHANGELOG.md
	install -D -m 0644 -t $(DIST)/usr/share/doc/respgate/docs docs/*.md
	install -D -m 0644 config/deploy/container.toml $(DIST)/etc/respgate/respgate.toml
	install -D -m 0644 config/users.acl $(DIST)/etc/respgate/users.acl
	cd config && find . -type f \( -name '*.toml' -o -name '*.acl' -o -name '*.yaml' -o -name '*.service' -o -name '*.socket' -o -name '*.json' \) \
		-exec install -D -m 0644 {} '$(abspath $(DIST))/usr/share/doc/respgate/config/{}' ';'
