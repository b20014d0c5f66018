# make demo                                     the page, on http://127.0.0.1:7860
# make refocus PHOTO=in.jpg OUT=out.jpg         one photo [FOCUS=x,y] [APERTURE=8]
# make test                                     lint and every test, those in a real browser included
#
# All three share one environment, .venv, made at first use and again when what it holds changes.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# torch is held to the version in constraints.txt unless there is a CUDA device to choose a build for
CONSTRAINTS = $(shell nvidia-smi >/dev/null 2>&1 || echo -c constraints.txt)

.PHONY: demo refocus test browser
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/python app.py

refocus: $(READY)
	@test -n "$(PHOTO)" && test -n "$(OUT)" || { echo "usage: make refocus PHOTO=in.jpg OUT=out.jpg [FOCUS=x,y] [APERTURE=8]" >&2; exit 2; }
	@$(BIN)/deeplens refocus "$(PHOTO)" -o "$(OUT)" $(if $(FOCUS),--focus="$(FOCUS)") $(if $(APERTURE),--aperture="$(APERTURE)")

test: $(READY) browser
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || { \
	  echo "deeplens_hf needs Python 3.11 or newer, and $(PYTHON) is not that: name one with 'make PYTHON=/path/to/python3'." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { \
	  echo "$(PYTHON) cannot make an environment: on Debian and Ubuntu, 'apt-get install python3-venv' lets it." >&2; exit 1; }
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) -e '.[demo,train,export,dev]'
	@touch $@

# The browser tests use a Chromium found on PATH, else one of Playwright's own; without either they are skipped.
browser: $(READY)
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
	$(BIN)/playwright install chromium || \
	echo "WARNING: no browser found and none could be installed: THE BROWSER TESTS WILL BE SKIPPED." >&2
