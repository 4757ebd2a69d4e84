# One command per intention; CI calls the same. Every target makes .venv itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA_DIR ?= .quickstart

# Of test-long and fuzz: where to begin (else the clock says) and how much.
SEED ?=
COUNT ?= 5000
SECONDS_EACH ?= 30

# Real clocks and processes share the machine with whatever else runs there: what fails is tried once more, and the
# closing lines say how often that was, and why. AGAIN= takes the first answer.
AGAIN ?= --reruns 1

.PHONY: install quickstart test test-real test-long mutants fuzz peers check bench ci format clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

quickstart: install
	$(BIN)/coord quickstart --data-dir $(DATA_DIR) $(if $(KEEP),--keep,--no-keep)

test: install
	$(BIN)/python -m pytest -q -m "not real" -n 3 --dist loadfile $(AGAIN)

test-real: install
	$(BIN)/python -m pytest -q -m real $(AGAIN)

test-long: install
	PYTHONPATH=tests/support $(BIN)/python -m differential $(or $(SEED),$$(date +%s)) $(COUNT)
	COORD_LONG=1 $(BIN)/python -m pytest -q -s -m real tests/faults tests/druid/overlord

# Storage bugs planted one at a time: each must be noticed.
mutants: install
	PYTHONPATH=tests/support $(BIN)/python -m mutants

fuzz: install
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	PYTHONPATH=tests/support $(BIN)/python -m fuzzing $(SECONDS_EACH) $(SEED)

# What ours is compared with, and runs on: Debian's packages, so as root. PostgreSQL's would make a cluster and start it.
peers:
	@test -e /usr/lib/postgresql || { mkdir -p /etc/postgresql-common && \
	echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf && \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; }
	@test -e /usr/share/java/zookeeper.jar && command -v java >/dev/null && command -v curl >/dev/null || \
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	zookeeper default-jre-headless curl; }

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/flake8 --select ASYNC coordserver druidroles cli tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

bench: install
	$(BIN)/coord bench latency
	$(BIN)/python benchmarks/jute.py --rounds 1 --seconds 0.5 --clients 50

ci: check test test-real

clean:
	rm -rf $(VENV) build *.egg-info .quickstart
