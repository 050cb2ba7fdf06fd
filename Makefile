# make demo       plain LoRA and LaLoRA on a real model, then plain LoRA softened; ends with runs/softened/report.html
# make test       every test but the longest
# make test-long  every test, also on a Ray cluster of two nodes on this machine
# make lint       style, format and types
# make docs       the documents as a site: site/index.html
# make benchmarks the performance tables, kept in runs/benchmarks

ON_WINDOWS := $(filter Windows_NT,$(OS))
PYTHON ?= $(if $(ON_WINDOWS),python,python3)
VENV := .venv
BIN := $(VENV)/$(if $(ON_WINDOWS),Scripts,bin)
# Is there once the environment is, on every system.
MADE := $(VENV)/pyvenv.cfg
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
# tests/fisher/test_curvlinops.py holds lalora against curvlinops. It comes with the pure-Python packages that it imports
# and no others: all that it declares would bring torchvision, which breaks transformers where it does not fit the torch.
ORACLE := curvlinops-for-pytorch einconv einops linear_operator
# tests/engines trains under DeepSpeed, which lies beside the environment: accelerate imports it in every process in which
# it can.
ENGINE := deepspeed hjson msgpack ninja py-cpuinfo

# A test a core, each with one thread: tiny models gain nothing from more.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical

.PHONY: demo test test-long lint docs benchmarks clean
.DELETE_ON_ERROR:

demo: $(VENV)/.lab
	$(BIN)/lalora run quickstart
	@if [ -e runs/softened ]; then echo "softened before: runs/softened/report.html"; else \
	$(BIN)/lalora soften smollm2-135m runs/quickstart/lora-seed-0 --held-out lambada --max-length 160 --budget 0.02 \
	--out runs/softened; fi

test: $(VENV)/.dev
	$(PYTEST)

test-long: $(VENV)/.long
	$(PYTEST) -m "long or not long"

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

benchmarks: $(VENV)/.lab
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python benchmarks/penalty.py
	$(BIN)/python benchmarks/penalty_by_rank.py
	$(BIN)/python benchmarks/methods.py
	$(BIN)/python benchmarks/stage_one.py
	$(BIN)/python benchmarks/tokens.py
	$(BIN)/python benchmarks/front.py

$(MADE):
	$(PYTHON) -m venv $(VENV)

$(VENV)/.lab: pyproject.toml constraints.txt | $(MADE)
	@echo "Installing lalora and what its studies need into $(VENV) (some minutes, once)"
	$(INSTALL) -e '.[lab]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(MADE)
	@echo "Installing lalora, its lab and its development tools into $(VENV) (some minutes, once)"
	$(INSTALL) -e '.[lab,dev]'
	$(INSTALL) --no-deps $(ORACLE)
	$(INSTALL) --no-deps --upgrade --target $(VENV)/deepspeed $(ENGINE) \
		|| echo "DeepSpeed could not be installed: tests/engines will skip what needs it"
	@touch $(VENV)/.lab $@

$(VENV)/.long: $(VENV)/.dev
	$(INSTALL) -e '.[lab,dev,ray]'
	@touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(MADE)
	@echo "Installing what makes the site into $(VENV) (once)"
	$(INSTALL) -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
