# Python 3.11 or newer; the first that is found.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALLED := .venv/installed
INSTALLED_DEV := .venv/installed-dev
INSTALL_LOG := .venv/install.log
# pip says nothing for minutes while it unpacks: every ten seconds, how long, how much, and what it does.
install = ( n=0; while sleep 10 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do n=$$((n + 10)); \
	echo "  $$n s, $$(du -sm .venv | cut -f 1) MB: $$(grep -E '^ *(Collecting|Downloading|Building|Installing)' $(INSTALL_LOG) | \
		tail -n 1 | cut -c 1-90)"; done ) & beat=$$!; \
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '$(1)' \
	> $(INSTALL_LOG) 2>&1; code=$$?; kill $$beat 2>/dev/null; \
	[ $$code -eq 0 ] || { tail -n 20 $(INSTALL_LOG); echo "pip failed; all it said is in $(INSTALL_LOG)"; exit 1; }

.PHONY: demo test lint format hooks clean

demo: $(INSTALLED)  ## Search, prune, distil; front, pictures and a checked ONNX file, from the embedded photographs
	@touch .venv/demo-started
	$(BIN)/pixelfront run examples/demo.toml
	@find runs/demo-*/winner.onnx -newer .venv/demo-started 2>/dev/null | grep . >/dev/null || \
		{ echo "make demo: this run wrote no runs/demo-*/winner.onnx" >&2; exit 1; }

test: $(INSTALLED_DEV)  ## All tests
	$(BIN)/python -m pytest -m alone
	$(BIN)/python -m pytest -m "not alone" -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED_DEV)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED_DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks:  ## Have git check commit messages
	git config core.hooksPath .githooks

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $@"; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing pixelfront and what it needs into .venv (minutes; $(INSTALL_LOG)) ..."
	@$(call install,.)
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo "Installing what tests and linters need into .venv ($(INSTALL_LOG)) ..."
	@$(call install,.[dev])
	@touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis
