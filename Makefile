# The doors of the project. Each one builds its own environment under .venv first; nothing else is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROOMS := schemas transforms pipelines
# xdist workers; tests start real servers and pipelines of their own, so no more than the cores.
WORKERS ?= auto

.PHONY: help env demo demo-stream demo-flink engines test soak check bench ns clean

help:
	@echo "make demo    protects examples/orders with the real command line and shows what happened"
	@echo "make demo-stream  streams orders over a broker, kills the stream twice, shows the books"
	@echo "make demo-flink  the same on a local Flink cluster and Kafka, its TaskManager killed on the way (needs Java and Maven)"
	@echo "make engines  fetches Prism, Flink and Apache Kafka for tests; says which tool is missing"
	@echo "make test    runs every test"
	@echo "make test-yaml  runs the tests of Beam YAML in an environment of their own, since its needs slow Beam's start"
	@echo "make soak    runs the long tests: 200 kills, 100,000 histories, outages of minutes (hours)"
	@echo "make check   lint, format, types, doctests, layering"
	@echo "make bench   prints every figure of docs/benchmarks.md (minutes)"

$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Consentry needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[analyst,kafka,postgres,ner,test,bench]'
	@touch $@

env: $(STAMP)

ns:
	@mkdir -p build/ns/consentry
	@for room in $(ROOMS); do ln -sfn ../../../$$room build/ns/consentry/$$room; done

demo: env
	@$(BIN)/python examples/demo.py

demo-stream: env
	@$(BIN)/python examples/demo_stream.py

demo-flink: env
	@$(BIN)/python examples/demo_flink.py

engines:
	@$(PYTHON) tests/servers/engines.py

test: env
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

.PHONY: test-yaml
test-yaml:
	$(PYTHON) -m venv build/yaml
	build/yaml/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[kafka,postgres,test,yaml]'
	build/yaml/bin/python -m pytest -n 0 tests/deploy/test_beam_yaml.py

soak: env
	CONSENTRY_SOAK=1 $(BIN)/python -m pytest -n 0 --timeout 0 tests/pipelines tests/transforms/stores tests/transforms/test_record_parts.py
	$(BIN)/python benchmarks/soak_streams.py

check: env ns
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p consentry
	$(BIN)/python -m pytest -q tests/test_doctests.py tests/test_layering.py

bench: env
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info
