# The commands of this repository: `make help` lists them. Everything is installed into .venv, nothing system-wide.
#
# A stamp in .venv says what has been installed and from which pyproject.toml and constraints.txt, so a second run of
# any command starts at once and reaches no network. ARGS is handed on: make demo ARGS=--keep, make test ARGS="-k fold".

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
unexport PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYTHONNOUSERSITE = 1

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SEED ?= 0
RUNS ?= 1000
# Which interpreter makes the environment; by default the first of these that is new enough.
PYTHON ?= python3 python3.13 python3.12 python3.11

RUNTIME := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev
WHEELHOUSE := $(VENV)/wheelhouse
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

# What `make check` does, in this order: the quick ones first, the tests last.
CHECKS := lint contracts check-proto types wheel test

# Debian packages that tests marked `engine` need; the issue that brings such a test adds its package here.
ENGINE_PACKAGES :=

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(DEVELOPMENT) ## make .venv with grange and all that its tests need

demo: $(RUNTIME) ## run a whole farm on this machine, from setup to the balanced books of a run (ARGS=--keep)
	@$(BIN)/grange demo $(ARGS)

test: $(DEVELOPMENT) ## run the tests, without the slow ones (ARGS="-k word")
	@$(BIN)/pytest -m "not slow and not engine" $(ARGS)

test-long: $(DEVELOPMENT) ## run the slow tests as well
	@$(BIN)/pytest -m "not engine" $(ARGS)

check: $(DEVELOPMENT) ## all that CI demands: lint, contracts, generated code, types, wheel, tests
	@failed=""; \
	for part in $(CHECKS); do \
	    echo "== $$part =="; \
	    $(MAKE) "$$part" || failed="$$failed $$part"; \
	done; \
	if [ -n "$$failed" ]; then echo "check failed:$$failed" >&2; exit 1; fi

lint: $(DEVELOPMENT) ## ruff check and ruff format --check
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && echo "style is clean"

contracts: $(DEVELOPMENT) ## who may import whom: import-linter
	@$(BIN)/lint-imports --no-logo

# mypy cannot see through the hook of an editable install, so it reads a fresh ordinary one, made in a scratch
# directory; the paths that it prints are relative to the repository once "grange/" is taken off.
types: $(DEVELOPMENT) ## mypy --strict on a fresh install
	@scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(call build_in,$$scratch) $(PIP_INSTALL) --no-index --no-deps --no-build-isolation --target "$$scratch/site" .; \
	root=$$PWD; cd "$$scratch/site"; \
	MYPYPATH=. "$$root/$(BIN)/mypy" --config-file "$$root/pyproject.toml" --cache-dir "$$root/.mypy_cache" \
	    --python-executable "$$root/$(BIN)/python" --package grange | sed 's,^grange/,,'; \
	MYPYPATH=. "$$root/$(BIN)/mypy" --config-file "$$root/pyproject.toml" --cache-dir "$$root/.mypy_cache/tools" \
	    --python-executable "$$root/$(BIN)/python" --no-error-summary "$$root"/tools/*.py

proto: $(DEVELOPMENT) ## generate the Python code of the .proto files
	@$(BIN)/python -P proto/generate.py

check-proto: $(DEVELOPMENT) ## is the generated code what the .proto files say?
	@$(BIN)/python -P proto/generate.py --check && echo "generated code is fresh"

# The wheel is made from the sdist, so one look at its contents tells that both are complete.
wheel: $(DEVELOPMENT) $(WHEELHOUSE)/.complete ## build sdist and wheel, install it in a clean environment and run a short demo there
	@rm -rf dist; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(call build_in,$$scratch) $(BIN)/python -m build --no-isolation --outdir dist . >"$$scratch/log" 2>&1 \
	    || { cat "$$scratch/log" >&2; exit 1; }
	@$(BIN)/python -P tools/check_wheel.py dist/*.whl --wheelhouse $(WHEELHOUSE) --constraints constraints.txt

docs: $(DEVELOPMENT) ## renew the parts of the documentation that the program prints
	@$(BIN)/python -P tools/printed.py

sim: $(RUNTIME) ## play simulated farms with faults: 1000 of them, or SEED=4711 RUNS=1 for one with its log
	@$(BIN)/python -P -m grange.harness.simulate --seed $(SEED) --runs $(RUNS)

bench: $(RUNTIME) ## measure transitions, starts, recovery, …, each beside its bare cost; one alone: ARGS='--only recovery'
	@$(BIN)/python -P -m grange.harness.bench $(ARGS)

chaos: $(RUNTIME) ## break the demonstration farm at random for a minute, and see whether everything holds
	@home=$$(mktemp -d /tmp/gc-XXXXXX); grange="$(BIN)/grange --home $$home"; \
	code=0; $$grange demo --keep >/dev/null && $$grange chaos $(ARGS) || code=$$?; \
	$$grange down --all >/dev/null && rm -rf "$$home" || code=1; exit $$code

engines: ## install the Debian packages that engine tests need (asks for root)
ifeq ($(strip $(ENGINE_PACKAGES)),)
	@echo "no engine tests yet: nothing to install"
else
	@echo "installing: $(ENGINE_PACKAGES)"
	@if [ "$$(id -u)" -eq 0 ]; then as_root=""; else as_root=sudo; fi; \
	$$as_root apt-get install --yes --no-install-recommends $(ENGINE_PACKAGES)
endif

constraints: | $(BIN)/pip ## take the newest versions within pyproject.toml's bounds and write constraints.txt
	@scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(BIN)/python -m venv "$$scratch/venv"; \
	"$$scratch/venv/bin/python" -m pip install --quiet --upgrade setuptools '.[dev]'; \
	{ head -n 1 constraints.txt; "$$scratch/venv/bin/python" -m pip freeze --all --exclude pip --exclude grange; } >"$$scratch/new"; \
	cp "$$scratch/new" constraints.txt

clean: ## remove what was built and cached (not .venv: its removal is a full reinstallation)
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# A build must neither find the leavings of an older one nor write into the tree: $(1) is the directory for them.
build_in = printf '[build]\nbuild_base=%s/build\n[egg_info]\negg_base=%s\n' "$(1)" "$(1)" >"$(1)/setup.cfg"; \
	DIST_EXTRA_CONFIG="$(1)/setup.cfg"

# pip is what a half-made environment lacks, so its presence is what says that the environment is whole.
$(BIN)/pip:
	@for python in $(PYTHON); do \
	    if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        exec "$$python" -m venv --clear $(VENV); \
	    fi; \
	done; \
	echo "grange needs Python 3.11 or newer with its venv module, and none of these is that: $(PYTHON)." \
	    "Install one (Debian: apt install python3 python3-venv) or name one: make PYTHON=/path/to/python3.12" >&2; \
	exit 1

# setuptools comes first and pinned, so that building takes no version that nobody tested.
$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing grange into $(VENV) (once; also after a change of pyproject.toml or constraints.txt)"
	@$(PIP_INSTALL) setuptools
	@$(PIP_INSTALL) --no-build-isolation --editable .
	@touch $@

$(DEVELOPMENT): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing grange and its development tools into $(VENV) (once; also after a change of pyproject.toml or constraints.txt)"
	@$(PIP_INSTALL) setuptools
	@$(PIP_INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $(RUNTIME) $@

# What the clean environment of `make wheel` is filled from, so that it too needs the network once only.
$(WHEELHOUSE)/.complete: $(DEVELOPMENT)
	@mkdir -p $(WHEELHOUSE)
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
	    >$(WHEELHOUSE)/requirements.txt
	@$(BIN)/python -m pip wheel --quiet --constraint constraints.txt --wheel-dir $(WHEELHOUSE) \
	    --requirement $(WHEELHOUSE)/requirements.txt
	@touch $@

.PHONY: help setup demo test test-long check lint contracts types proto check-proto wheel docs sim bench chaos engines constraints clean
