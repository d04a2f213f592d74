# Everything starts here: `make demo`, `make serve`, `make test`. Set-up is stamped, so a second run starts in seconds.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .stamps

# Which torch. Without an NVIDIA GPU the CPU build is asked for by name, so that several GB of CUDA never arrive by
# surprise; PyPI itself has no such build for x86-64, hence the extra index. `make TORCH=torch==2.13.0` takes PyPI's.
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
ifeq ($(shell uname -m)/$(shell command -v nvidia-smi),x86_64/)
TORCH ?= torch==$(TORCH_VERSION)+cpu
else
TORCH ?= torch==$(TORCH_VERSION)
endif
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 1

.PHONY: help setup demo serve test test-slow check train ablate bench compose-check clean

help:
	@echo "make demo           set up, run the service, lip-sync the sample, write demo.mp4"
	@echo "make serve          run the service until Ctrl-C"
	@echo "make test           the tests;  make test-slow: the long ones;  make check: lint, types, imports, fast tests"
	@echo "make train          corpus, sync expert and generator from nothing (MINUTES=10)"
	@echo "make ablate         the network without each of its parts, and Wav2Lip, compared (CORPUS=, HEARING=, ROW_MINUTES=60)"
	@echo "make bench          speed and memory;  make compose-check: the containers on a Docker Engine"

$(STAMPS)/torch: constraints.txt
	@mkdir -p $(STAMPS)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing $(TORCH)"
	@$(PIP_INSTALL) "$(TORCH)" --extra-index-url $(TORCH_INDEX) || { \
		echo "error: no package $(TORCH) was found; make TORCH=torch==$(TORCH_VERSION) takes the default build (several GB)"; exit 1; }
	@touch $@

$(STAMPS)/setup: $(STAMPS)/torch pyproject.toml
	@echo "installing the service and its tests"
	@$(PIP_INSTALL) -c constraints.txt -e ".[app,worker,embedded,dev]"
	@touch $@

$(STAMPS)/train: $(STAMPS)/setup
	@echo "installing what training needs, for it and for its tests"
	@$(PIP_INSTALL) -c constraints.txt -e ".[train]"
	@touch $@

setup: $(STAMPS)/setup

demo: setup
	@$(BIN)/python -m examples.demo

serve: setup
	@$(BIN)/lipsync serve

test: $(STAMPS)/train
	@$(BIN)/python -m pytest -q

test-slow: $(STAMPS)/train
	@$(BIN)/python -m pytest -q -m slow --timeout 1800

check: $(STAMPS)/train
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q tests/app tests/worker tests/model -x --timeout 120

# Every stage for real within a budget of minutes: a small corpus, the sync expert, the generator. FACES and SPEECH name
# folders of pictures and recordings with their INDEX.csv; without them one face and synthetic voices have to do.
MINUTES ?= 10
RUN ?= runs/first
CLIPS ?= 24
train: $(STAMPS)/train
	@$(BIN)/lipsync corpus --out $(RUN)/corpus --clips $(CLIPS) $(if $(FACES),--faces $(FACES)) $(if $(SPEECH),--speech $(SPEECH))
	@$(BIN)/lipsync train --config model/configs/expert.toml --corpus $(RUN)/corpus --run $(RUN)/expert \
		--minutes $$(echo "$(MINUTES) * 0.25" | awk '{print $$1 * $$3}')
	@$(BIN)/lipsync train --config model/configs/generator.toml --corpus $(RUN)/corpus --run $(RUN)/generator \
		--expert $(RUN)/expert/expert.safetensors --minutes $$(echo "$(MINUTES) * 0.5" | awk '{print $$1 * $$3}')
	@echo "try it: lipsync sync --checkpoint $(RUN)/generator/generator.safetensors --video FACE --audio VOICE --output out.mp4"

# Every row with the same budget on this machine; stopped, it goes on where it was. HEARING: hearing.safetensors.
CORPUS ?= $(RUN)/corpus
ROW_MINUTES ?= 60
ablate: $(STAMPS)/train
	@$(BIN)/lipsync ablate --corpus $(CORPUS) --out $(RUN)/ablation --minutes $(ROW_MINUTES) \
		$(if $(HEARING),--hearing $(HEARING)) $(ARGS)

bench: setup
	@$(BIN)/lipsync bench $(ARGS)

compose-check: setup
	@$(BIN)/python -m docker.compose_check $(ARGS)

clean:
	rm -rf $(VENV) $(STAMPS) build .mypy_cache .ruff_cache .pytest_cache
