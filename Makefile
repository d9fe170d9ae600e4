# make notebooks   set up, run every notebook, write figures and pages to build/
# make outputs     set up, run every notebook on the bundled cartoons, and keep its outputs in it
# make site        run the solutions of the exercises, make a site of the executed notebooks in build/site
# make test        set up, run the tests but those of the course
# make test-course set up, check what the notebooks state about all cartoons, and the solutions of the exercises
# make lab         set up, open JupyterLab
# make lint        check the style of the code and the notebooks
#
# make notebooks IMAGES=~/pictures MODELS=blog K=6   the same with your own folder and other networks: the post's (blog),
#                                                    those of today (modern), or names separated by commas

PYTHON ?= python3
IMAGES ?= data/openclipart
MODELS ?= bundled
K ?= 4
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# The packages are installed without bytecode, and Python keeps that of what it imports. Where the environment forbids
# this, as some containers do, every process would compile torch and the rest again: 7 seconds each.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: notebooks outputs site test test-course lab lint clean

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv: a few minutes, once"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[notebooks,fast,indexes,classical,text,dev]'
	@echo "Compiling Annoy and hnswlib, if there is a compiler"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[compiled]' >.venv/compiled.log 2>&1 \
	  || echo "Annoy, hnswlib and NMSLIB are left out: a C++ compiler is missing (on Debian: apt-get install build-essential python3-dev) or fails, see .venv/compiled.log; exact search stands in for Annoy" >&2
	@touch $@

notebooks: .venv/ready
	$(BIN)/python notebooks/run.py --images "$(IMAGES)" --models "$(MODELS)" --k "$(K)"

outputs: .venv/ready
	$(BIN)/python notebooks/run.py --keep-outputs

.venv/site: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[site]'
	@touch $@

site: .venv/site
	@test -e build/notebooks/12_explore_and_judge.ipynb || { echo 'The notebooks have not been executed: run `make notebooks` first' >&2; exit 2; }
	$(BIN)/python notebooks/run.py --solutions
	$(BIN)/python docs/site/make_site.py

test: .venv/ready
	$(PYTEST) -m "not course"

test-course: .venv/ready
	$(PYTEST) -m course

lab: .venv/ready
	$(BIN)/jupyter lab notebooks

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv build
