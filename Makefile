# make demo       install wf into .venv and run the main job
# make test       lint, and run the tests but for the exhaustive ones; FILES=plugins/losses runs those of some files alone
# make test-all   lint, and run all tests: the exhaustive ones, the adapters' and the timings, too
# make lint       ruff, mypy --strict, import rules
# make catalogue  train with every member of every catalogue, and renew the table in docs/ecosystem.md
# make docs       build the documentation as a site into site/
# make bench      run the scripts in benchmarks/ and write their figures beside their goals into docs/speed.md
# make mutate     change the code in thousands of ways, and see whether a test notices; FILES=loop changes one module
# make soak       kill runs at random instants, KILLS times, and resume them
# make wheels     build every distribution into dist/
# make release    build wheels and source archives of every distribution into dist/, and check them

PYTHON ?= python3
WORKERS ?= 2
KILLS ?= 5000
FILES ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# The folders that a file of requirements installs from this checkout.
folders = $(shell sed -n 's|^-e ./\([^[]*\).*|\1|p' $(1))
DISTRIBUTIONS := $(call folders,requirements.txt)
ADAPTERS := $(call folders,requirements-ecosystem.txt)
INSTALLED := $(VENV)/installed
TOOLS := $(VENV)/installed-tools
# An environment on top of the first one, with the adapters and the libraries that they bring.
ECOSYSTEM := $(VENV)/ecosystem
ADAPTED := $(ECOSYSTEM)/installed
# Another one on top of the first, with what makes mutants.
MUTATION := $(VENV)/mutation
ADAPTER_TESTS := $(wildcard $(addsuffix /tests,$(ADAPTERS))) tests/ecosystem

# Files of the adapters need their libraries.
PYTEST = OMP_NUM_THREADS=1 $(if $(filter $(addsuffix %,$(ADAPTERS) tests/ecosystem),$(FILES)),$(ECOSYSTEM),$(VENV))/bin/python -m pytest -q

# What measures time is collected by itself, in a small process.
TIMINGS := $(shell grep -rl 'mark\.alone' --include='test_*.py' cli corelib plugins tests)

# mypy takes a minute where it has no cache, and one core: it works beside the tests and speaks when they are done.
define BESIDE_TYPES
@$(MAKE) --no-print-directory types >$(VENV)/types.txt 2>&1 & types=$$!; trap 'kill $$types' INT TERM; \
	$(1); code=$$?; wait $$types || code=$$?; cat $(VENV)/types.txt; exit $$code
endef

.PHONY: demo test test-all lint style types catalogue docs bench mutate soak wheels release
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	@echo; echo '$$ wf run --loss focal --optimizer adam'
	@$(BIN)/wf run --loss focal --optimizer adam
	@echo; echo '$$ wf run --dataset fashion-mnist --epochs 1'
	@$(BIN)/wf run --dataset fashion-mnist --epochs 1 || { code=$$?; test $$code -eq 4 || exit $$code; \
		echo 'Fashion-MNIST is not here, so this part of the demo was left out; the places are above.'; }

# One thread a worker: two workers with two threads each get in each other's way on two cores.
ifdef FILES
test: $(TOOLS) $(ADAPTED)
	$(PYTEST) -m 'not exhaustive and not catalogue' $(FILES)
else
test: $(TOOLS) $(ADAPTED) style
	$(call BESIDE_TYPES,$(PYTEST) -n $(WORKERS) --dist loadgroup -m 'not exhaustive and not alone and not catalogue')
endif

test-all: $(TOOLS) $(ADAPTED) style
	$(call BESIDE_TYPES,$(PYTEST) -n $(WORKERS) --dist loadgroup -m 'not alone and not catalogue')
	OMP_NUM_THREADS=1 $(ECOSYSTEM)/bin/python -m pytest -q -n $(WORKERS) -m 'not catalogue' $(ADAPTER_TESTS)
	$(BIN)/python -m pytest -q -m alone $(TIMINGS)

lint: style types

style: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(TOOLS) $(ADAPTED)
	$(BIN)/mypy --python-executable $(ECOSYSTEM)/bin/python

catalogue: $(TOOLS) $(ADAPTED)
	OMP_NUM_THREADS=1 $(ECOSYSTEM)/bin/python -m pytest -q -n $(WORKERS) -m catalogue plugins tests/ecosystem
	$(BIN)/python docs/generate.py

docs: $(TOOLS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q

bench: $(INSTALLED) $(ADAPTED)
	$(BIN)/python benchmarks/_all.py

mutate: $(MUTATION)/installed
	OMP_NUM_THREADS=1 $(MUTATION)/bin/python tests/mutate.py $(FILES)

soak: $(TOOLS)
	OMP_NUM_THREADS=1 WF_KILLS=$(KILLS) $(BIN)/python -m pytest -q -n $(WORKERS) tests/test_faults.py -k random_instants

wheels: $(INSTALLED)
	$(PIP) wheel -q --no-deps --no-build-isolation -w dist $(addprefix ./,$(DISTRIBUTIONS) $(ADAPTERS))

# It needs build, hatchling and twine, and nothing of wf.
DIST ?= dist
release:
	@set -e; for folder in . $(DISTRIBUTIONS) $(ADAPTERS); do echo "$$folder"; \
		WF_RELEASE=1 $(PYTHON) -m build --no-isolation --outdir $(DIST) $$folder >/dev/null; done
	@$(PYTHON) -m twine check --strict $(DIST)/*

# The big download shows its progress; everything after it is quick and silent unless it fails.
$(INSTALLED): requirements.txt constraints.txt $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "wf needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 || :)." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import torch, torchvision' 2>/dev/null || { \
		echo 'Installing into $(VENV): about 3.1 GB to download, nearly all of it torch and its CUDA libraries' \
			'(far less where torch comes without them); 6 GB on disk.'; \
		$(PIP) install -c constraints.txt torch torchvision; }
	@echo 'Installing wf and what it needs ...'
	@$(PIP) install -q -c constraints.txt editables hatchling
	@$(PIP) install -q --no-build-isolation -r requirements.txt
	@touch $@

$(TOOLS): $(INSTALLED) requirements-dev.txt
	@echo 'Installing the test tools: about 60 MB to download ...'
	@$(PIP) install -q -r requirements-dev.txt
	@touch $@

# An environment that has the packages of the first one, too.
define ON_TOP
@test -x $(1)/bin/python || $(PYTHON) -m venv --without-pip $(1)
@$(BIN)/python -c 'import pathlib, sys, sysconfig; \
	folder = next(pathlib.Path(sys.argv[1]).glob("lib/python*/site-packages")); \
	(folder / "base.pth").write_text("import site; site.addsitedir(%r)\n" % sysconfig.get_path("purelib"))' $(1)
endef

$(ADAPTED): $(TOOLS) requirements-ecosystem.txt $(addsuffix /pyproject.toml,$(ADAPTERS))
	@echo 'Installing the libraries of the ecosystem into $(ECOSYSTEM): about 120 MB to download ...'
	$(call ON_TOP,$(ECOSYSTEM))
	@$(PIP) --python $(ECOSYSTEM)/bin/python install -q --no-build-isolation -r requirements-ecosystem.txt
	@touch $@

$(MUTATION)/installed: $(TOOLS) requirements-mutation.txt
	$(call ON_TOP,$(MUTATION))
	@$(PIP) --python $(MUTATION)/bin/python install -q -r requirements-mutation.txt
	@touch $@
