# Uses the python of the active environment: pip install -c constraints.txt -e '.[test]'
PYTHON ?= python

.PHONY: check test format demo

check:  ## what .ci/run checks, without an environment of its own
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -n 2

test:
	$(PYTHON) -m pytest -n 2

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

demo:
	$(PYTHON) -m unlogit demo
