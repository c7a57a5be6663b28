# wetread: `make up` runs it, `make test` tests it; both set up what they need first.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export OMP_NUM_THREADS ?= 2

.DEFAULT_GOAL := help
.PHONY: help up demo test faults fuzz lint check setup setup-dev debian fast decoders train report bench clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

up: setup  ## Start everything on this machine; Ctrl-C stops it
	@exec $(BIN)/wetread up

demo: setup  ## Start it in a folder of its own, read sample cases, print their findings, stop
	@$(BIN)/wetread demo

test: setup-dev debian  ## Run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

faults: setup-dev  ## Kill, stop, fill and flood real processes; write docs/faults.md (half an hour)
	@mkdir -p build && rm -f build/faults.jsonl
	-FAULTS_TABLE=build/faults.jsonl $(BIN)/python -m pytest -m faults -n 2 --dist loadfile tests/faults $(ARGS)
	PYTHONPATH=tests:. $(BIN)/python -m faults.report build/faults.jsonl docs/faults.md

DATA ?= ../shared/data
COUNT ?= 100000
fuzz: setup-dev  ## Mutate real files against every reader, COUNT times
	@mkdir -p build
	PYTHONPATH=tests:. WETREAD_DATA=$(abspath $(DATA)) $(BIN)/python -m fuzz.run --count $(COUNT) --report build/fuzz.json

lint: setup-dev  ## Style, types, import line
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint -s -c deploy/.yamllint deploy

fast: setup  ## Install the faster CPU back-ends (OpenVINO, ONNX Runtime; about 300 MB)
	@$(PIP) -c constraints.txt -e '.[fast]'

decoders: setup  ## Install a faster JPEG decoder, which reads 12-bit JPEG as well (80 MB)
	@$(PIP) -c constraints.txt -e '.[decode]'

setup: $(VENV)/.run  ## Install what running needs
setup-dev: $(VENV)/.dev  ## Install what testing needs as well

# torch first and pinned: anything else that asks for it would fetch gigabytes of CUDA
$(VENV)/.run: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "wetread needs Python 3.11; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up (once)" >&2
	@$(PIP) $$(grep -i '^torch==' constraints.txt)
	@$(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

# Debian's Prometheus (with promtool), dcmtk and dicom3tools for the tests that claim to test with them
debian:
	@command -v promtool >/dev/null && command -v prometheus >/dev/null && \
		command -v dcmdump >/dev/null && command -v dciodvfy >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends prometheus dcmtk dicom3tools >/dev/null; } || \
		echo "no Prometheus, dcmtk or dicom3tools here: the tests that need them will say so and skip" >&2

# family=where its data lie in DATA
FAMILIES := hippocampus-mr=mr/hippocampus heart-disease=tabular/heart.c.arff \
	diabetes=tabular/diabetes.arff dermatology=tabular/dermatology.arff \
	inpatient-death=tabular/support2_train.csv prognosis-gbsg=survival/gbsg_train.npz \
	prognosis-metabric=survival/metabric_train.npz prognosis-support=survival/support_train.npz \
	prognosis-whas=survival/whas_train.npz splice-site=sequence/splice.arff peptide-amp=sequence/amp \
	tumour-expression=sequence/khan ecg-beat=ecg/mitdb bbb-permeability=drug/B3DB_classification.tsv \
	bace-activity=drug/bace.csv solubility=drug/delaney-processed.csv warfarin-dose=treatment/iwpc_train.csv \
	pharmacogenomics=treatment/cpic ecg-gan=ecg/mitdb chest-xray-gan=xray/pneumoniamnist_train_val.npz

train: setup  ## Train every family anew from DATA into build/training (long)
	$(BIN)/wetread models train chest-xray --data $(DATA)/xray/kermany/train --out build/training/kermany
	$(BIN)/wetread models train chest-xray --data $(DATA)/xray/pneumoniamnist_train_val.npz --out build/training/mnist
	$(BIN)/wetread models train note-assertion --data $(DATA)/notes/negex/reports_1-60.tsv
	$(BIN)/wetread models train note-diagnosis --data $(DATA)/notes/symptom2disease_train.csv
	set -e; for one in $(FAMILIES); do \
		$(BIN)/wetread models train $${one%%=*} --data $(DATA)/$${one#*=}; done

report: setup  ## All families on one page
	$(BIN)/python -m models.training.report --data $(DATA) --only "$(ONLY)" --out docs/model-report.html

bench: setup-dev  ## Measure against the machine's limits and, where installed, Orthanc and dcmtk (15 minutes)
	PYTHONPATH=tests:. $(BIN)/python -m benchmarks.run --page docs/benchmarks.md $(ARGS)

clean:  ## Remove the environment and caches; never a home
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
