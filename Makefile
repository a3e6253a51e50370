# The one entry point. Every target is re-runnable and calls one thing; `make help` lists them.
BUN := out/bin/bun
RELEASE := target/x86_64-unknown-linux-gnu/release
PROGRAMS := ariad quiltd quilt-init aria-init aria-image

.DEFAULT_GOAL := help
.PHONY: help setup binaries check test e2e hostile fuzz bench demo dev run image lock-update clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r t d; do printf '  make %-11s %s\n' "$$t" "$$d"; done

setup: ## install what is needed (Debian packages, Bun, npm packages), build out/bin/arc
	@.ci/setup

binaries: setup
	@.ci/binaries $(PROGRAMS)

check: setup ## the fast tier before every commit: format, lints, unit tests, tidy; no privilege
	@$(BUN) tests/run.ts check

test: binaries ## everything this machine can run, a boot in QEMU among it (CI runs exactly this)
	@$(BUN) tests/run.ts test

e2e: binaries image ## the whole VM suite (examples, reboot, power cut, cancel, large upload), and the programs for aarch64
	@.ci/setup cross
	@$(BUN) tests/run.ts e2e

hostile: binaries ## attack the cage: CASES=<dir> of *.ts, VM=1 in the booted image, PROFILE=tool|tool-noexec|tool-nojit, WARM=1, REPORT=1
	@$(if $(VM),$(MAKE) --no-print-directory image,:)
	@CASES="$(CASES)" VM="$(VM)" PROFILE="$(PROFILE)" WARM="$(WARM)" FULL="$(FULL)" REPORT="$(REPORT)" $(BUN) tests/hostile/run.ts

fuzz: setup ## libFuzzer on every parser at a trust border: FUZZ_SECONDS=<s> each, TARGET=<name>, MERGE=1 keeps what is new
	@FUZZ_SECONDS="$(FUZZ_SECONDS)" TARGET="$(TARGET)" MERGE="$(MERGE)" $(BUN) tests/fuzz/run.ts

bench: binaries image ## measure us and the peers in one run; prints ratios, writes out/bench.json; ONLY=G1,G5 QUICK=1 VM=1
	@$(BUN) tests/benches/run.ts

image: binaries ## assemble the image: out/image/aria-<version>-<arch>.img.zst and what direct boot needs
	@out/bin/aria-image build --out out/image

demo: image ## image, boot in QEMU, arc new, build, upload, invoke, the answer, power off
	@$(BUN) tests/stand/demo.ts

run: image ## boot the image in QEMU and stay; context `vm` for out/bin/arc
	@$(BUN) tests/stand/run.ts

dev: binaries ## run the two daemons on this machine without a VM; context `dev` for out/bin/arc
	@$(BUN) tests/stand/dev.ts

lock-update: setup ## newest versions the manifests allow, in every lock file; review the diff
	@cargo update
	@for dir in arc-cli tests examples/*/; do (cd "$$dir" && "$(CURDIR)/$(BUN)" update --silent); done

clean: ## remove everything built (keeps downloads in out/cache)
	@cargo clean --quiet
	@find out -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +
