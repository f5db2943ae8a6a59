PYTHON ?= python3
# PyTorch's own index of CPU wheels, for machines where a plain install of torch brings CUDA. Empty: not used.
TORCH_INDEX ?=

BIN := .venv/bin
HTML := _build/html
# A paper has three pages: NAME, NAME_experiments and NAME_theory.
PAPERS := $(filter-out %_experiments %_theory,$(notdir $(basename $(wildcard notebooks/*.py))))
PAGES := $(NAMES) $(addsuffix _experiments,$(NAMES)) $(addsuffix _theory,$(NAMES))
NOTEBOOKS := $(if $(NAMES),$(wildcard $(PAGES:%=notebooks/%.ipynb)),notebooks)
BENCHMARKS := $(wildcard benchmarks/bench_*.py)

export WORKEDPAPERS_QUIET := 1
export OMP_NUM_THREADS := 1
# The full data sets, where they lie beside the checkout; tests that need them are skipped elsewhere.
ifneq ($(wildcard ../shared/data),)
export WORKEDPAPERS_DATA ?= $(abspath ../shared/data)
endif

.DEFAULT_GOAL := help
.PHONY: help book test notebooks results paper bench serve address clean

help:
	@echo "make book       build the book from the stored outputs; prints the page to open"
	@echo "make test       lint, types, tests, and every notebook cell against its stored output"
	@echo "make notebooks  execute every notebook from its .py"
	@echo "make results    train the recorded rows that are missing, at book scale"
	@echo "make paper      begin a paper from the templates: NAME=fast_weights KEY=FW"
	@echo "make bench      time ours against the peers"
	@echo "make serve      show the built book at http://localhost:8000"
	@echo "make address    set the repository's address everywhere: URL=https://github.com/<owner>/<name>"
	@echo "make clean      remove what was built (the environment .venv stays)"
	@echo
	@echo "NAMES=fast_weights limits test, notebooks and results to what belongs to that paper."
	@echo "PYTHON=python3.12 picks the interpreter of .venv, TORCH_INDEX=<url> an extra index for torch."

.venv/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, $(PYTHON) is {v[0]}.{v[1]}")'
	@echo "Installing into .venv; this takes a minute or two, once."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.txt
	@touch $@

book: .venv/installed
	@mkdir -p _build
	@$(BIN)/jupyter-book build . --all -W -n --keep-going > _build/book.log 2>&1 || { cat _build/book.log; exit 1; }
	@echo "The book is built. Open $(CURDIR)/$(HTML)/index.html"

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 $(if $(NAMES),--papers "$(NAMES)")
	$(BIN)/pytest $(NOTEBOOKS) --nbval --nbval-current-env --nbval-sanitize-with notebooks/nbval_sanitize.cfg -n 2 --dist loadfile

notebooks: .venv/installed
	$(BIN)/python scripts/notebooks.py $(NAMES)

results: .venv/installed
	@set -e; for paper in $(or $(NAMES),$(PAPERS)); do \
	    WORKEDPAPERS_QUIET= WORKEDPAPERS_RESULTS=$(CURDIR)/src/workedpapers/results \
	        $(BIN)/python -m workedpapers run $$paper --scale book; \
	done

paper: .venv/installed
	@$(BIN)/python scripts/paper.py '$(NAME)' '$(KEY)'

bench: .venv/installed
	-$(BIN)/python -m pip install --quiet pyro-ppl==1.9.2
	@set -e; for benchmark in $(BENCHMARKS); do $(BIN)/python $$benchmark; done

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(HTML) 8000

address:
	@$(PYTHON) scripts/address.py '$(URL)'

clean:
	rm -rf _build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
