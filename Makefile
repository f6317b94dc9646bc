# SPDX-License-Identifier: GPL-3.0-or-later
# The targets are described in CONTRIBUTING.md. WYNG_TEST_INSTALL=1 lets `make test` install what
# the tests need (Debian, root).

MINIMUM_RUST := 1.88
# The minimum Rust of the helper, which Debian 13 can build.
HELPER_RUST := 1.85
CARGO ?= cargo
export WYNG_TEST_SKIPPED := $(CURDIR)/target/skipped

.PHONY: all build check test test-user test-systemd test-vm test-garage demo bench rust helper-rust oldest figures needs hooks clean

all: build

rust:
	@scripts/check-rust.sh $(MINIMUM_RUST)

helper-rust:
	@scripts/check-rust.sh $(HELPER_RUST)

# The helper's crates with the oldest Rust that they claim, where rustup has it.
oldest:
	@scripts/check-oldest.sh $(HELPER_RUST)

build: rust
	$(CARGO) build --locked --workspace

check: rust needs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --log-level error check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and sources were not checked (cargo install cargo-deny)"; fi
	@PATH="$$PATH:target/typos/bin"; if command -v typos >/dev/null; then typos; \
	else echo "typos is not installed: the spelling was not checked (cargo install typos-cli)"; fi

# Runs `make check` before each commit. `git config --unset core.hooksPath` undoes it.
hooks:
	git config core.hooksPath scripts/hooks

# The figures of docs/decisions.md: circles between modules, lengths of functions and others.
figures:
	@$(CARGO) run --quiet --locked --package wyng-tests --bin figures

needs:
	@if [ "$(WYNG_TEST_INSTALL)" = 1 ]; then scripts/install-needs.sh; fi

test: rust needs
	@mkdir -p target && rm -f "$(WYNG_TEST_SKIPPED)"
	$(CARGO) build --locked --workspace --bins
	@$(MAKE) --no-print-directory static PROFILE=dev || echo "a static helper cannot be linked here: the tests of it are skipped"
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --locked --workspace --no-fail-fast --status-level fail --final-status-level fail; \
	else $(CARGO) test --locked --workspace --quiet; fi
	$(CARGO) test --locked --workspace --quiet --doc
	@scripts/show-skipped.sh "$(WYNG_TEST_SKIPPED)"

# As root, after `make test`: the tests again as an ordinary user, without those that do not depend
# on the user.
test-user: rust
	@scripts/as-user.sh

demo: rust
	$(CARGO) build --locked --bins --package wyngd --package wyng-ctl --package wyng-transport-vm
	@scripts/demo.sh

# The units under a real systemd, in a VM: root, some minutes.
test-systemd: rust
	$(CARGO) build --locked --bins --workspace
	@tests/systemd/run.sh

# Thin pools of a real kernel, with lvm and udev, in a VM: root, some minutes.
test-vm: rust
	$(CARGO) build --locked --bins --workspace
	@tests/vm/run.sh

# A distributed store of three nodes, of which one is killed in the middle of a backup.
test-garage: rust
	@if [ "$(WYNG_TEST_INSTALL)" = 1 ]; then scripts/install-garage.sh; fi
	$(CARGO) build --locked --workspace --bins
	WYNG_TEST_GARAGE=1 WYNG_TEST_REQUIRE=all $(CARGO) test --locked --workspace --test stores garage::

# WYNG_BENCH_SIZE, WYNG_BENCH_RUNS, WYNG_BENCH_PROFILE: see bench/bench.py.
bench: rust
	@if [ "$(WYNG_TEST_INSTALL)" = 1 ]; then scripts/install-needs.sh restic borgbackup; fi
	@if [ "$(WYNG_BENCH_PROFILE)" = debug ]; then $(CARGO) build --locked --workspace --bins; \
	else $(CARGO) build --locked --workspace --bins --release; fi
	@bench/bench.py
	@if [ "$(WYNG_BENCH_PROFILE)" != debug ]; then $(CARGO) bench --locked --quiet --package wyngd --bench index; fi

include packaging/install.mk

clean:
	$(CARGO) clean
