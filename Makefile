# Everything sets itself up: the first target you make builds .venv (some minutes: PyTorch is large).
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
ARGS ?=
OUT := runs/notebooks
SETTINGS := .venv/share/jupyter/lab/settings

.DEFAULT_GOAL := help
.PHONY: help quickstart notebook test test-long test-browser lab book reproduce gpu outputs figures bench clean

help:  ## print this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

quickstart: N := 00
quickstart: notebook  ## train on 20 labelled digits and compare; ARGS="-p labels 50 -p seeds 5" changes parameters

NOTEBOOK = $(wildcard notebooks/$(N)_*.ipynb)
DONE = $(OUT)/$(notdir $(NOTEBOOK))
PAGE = $(OUT)/$(notdir $(NOTEBOOK:.ipynb=.html))

notebook: $(READY)  ## run a notebook, as it stands or with other parameters; N=03 ARGS="-p seeds 1"
	@test -f "$(NOTEBOOK)" || { echo "N=$(N) names no notebook. There are: $(patsubst notebooks/%,%,$(wildcard notebooks/[0-9]*.ipynb))"; exit 2; }
	@$(if $(ARGS),$(BIN)/python -m dnll_core.campaign.parameters $(NOTEBOOK) $(ARGS))
	@mkdir -p "$(OUT)"; test ! "$(OUT)" -ef notebooks || { echo "OUT=$(OUT) holds the notebooks themselves; name another folder"; exit 2; }
	@rm -f "$(DONE)" "$(PAGE)"
	@echo "(Its kernel listens to this machine alone: never mind a warning of TCP without encryption.)"
	OMP_WAIT_POLICY=PASSIVE $(BIN)/papermill $(NOTEBOOK) "$(DONE)" --stdout-file - --stderr-file - $(ARGS)
	@$(BIN)/jupyter nbconvert --log-level ERROR --to html "$(DONE)"
	@echo "The executed notebook: $(DONE) (make lab)."
	@echo "As a page: $(PAGE) (its formulas are set by a script from the net)."

# Notebooks and tests run side by side, whole files (loadscope), the long ones first, each with one thread and one worker
# process: two threads of one would wait for those of the other. Notebook 12 measures times: alone, with all threads.
NBVAL := $(BIN)/python -m pytest --nbval --nbval-current-env
TIMED := notebooks/12_execution_time.ipynb
unexport PYTHONDONTWRITEBYTECODE  # some images set it; each process would compile its imports anew, for seconds

test: export DNLL_WORKERS := 1
test: $(READY)  ## style, unit tests, and every notebook against its committed outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(NBVAL) -n auto --dist loadscope --no-loadscope-reorder notebooks tests --ignore $(TIMED)
	$(NBVAL) $(TIMED)

test-long: export DNLL_ATTACKS := full
test-long: .venv/.long  ## attack it: kills, damage, full disks, forged files; Linux, root, about 20 minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m long tests

test-browser: .venv/.browser .venv/.book  ## JupyterLab and the book in Chromium, which the system must have; 5 minutes at most
	$(BIN)/python -m pytest -m browser tests/test_browser.py tests/test_book.py

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=. $(ARGS)

book: .venv/.book  ## the notebooks and the API as pages to read in a browser, which need no net
	$(BIN)/python -m sphinx -q notebooks runs/book
	@echo "The book: runs/book/index.html"

reproduce: $(READY)  ## run the paper's tables; ARGS="--profile short --tables 4 1 2 --minutes 25"
	$(BIN)/python -m dnll_core.campaign $(or $(ARGS),--tables 1 2 3 4 5 6)

gpu: OUT := runs/gpu
gpu: $(READY)  ## tests, benchmarks and the first cells of the tables on a GPU; MINUTES=12 OUT=runs/gpu
	$(BIN)/python -m dnll_core.campaign.gpu --minutes $(or $(MINUTES),12) --out $(OUT) $(ARGS)

outputs: $(READY)  ## run the notebooks at their defaults and store their outputs in place; ARGS="07 08" for two
	$(BIN)/python -m dnll_core.campaign.outputs $(ARGS)

figures: $(READY)  ## redraw figures and the README's table from the records
	$(BIN)/python -m dnll_core.figures.report

bench: $(READY)  ## time training iterations on this machine; ARGS="--compare method=mean-teacher"
	$(BIN)/python -m dnll_core.bench $(ARGS)

clean:  ## delete the environment and all runs (not the data sets, not data/results)
	rm -rf .venv runs

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Building .venv: PyTorch, JupyterLab and the rest. This takes some minutes, once."
	$(PYTHON) -m venv .venv
	$(BIN)/python install.py --editable '.[test]'
	@mkdir -p $(SETTINGS) && echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' > $(SETTINGS)/overrides.json
	@touch $@

.venv/.%: $(READY)  # an extra of pyproject.toml
	$(BIN)/python install.py --editable '.[$*]'
	@touch $@
