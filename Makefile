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

.PHONY: help setup demo serve test test-slow check train evaluate ablate bench chaos compose-check clean

help:
	@echo "make demo           set up, run the service, lip-sync the sample, write demo.mp4"
	@echo "make serve          run the service until Ctrl-C"
	@echo "make test           the tests;  make test-slow: the long ones;  make check: lint, types, imports, fast tests"
	@echo "make train          corpus, sync expert and generator from nothing (MINUTES=10)"
	@echo "make evaluate       judge the weights on held-out puppets and, where the media lie, on real people"
	@echo "make ablate         the network without each of its parts, and Wav2Lip, compared (TAUGHT=, HEARING=, ROW_MINUTES=60)"
	@echo "make chaos          kill, cut off and overload a real service; see what became of its jobs (an hour)"
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
	@$(BIN)/python -m pytest -q tests/app tests/worker tests/model tests/lipsync tests/test_imports.py -x --timeout 120

# Every stage for real within a budget of minutes: a corpus, hearing, the sync expert, the generator. FACES and SPEECH name
# folders of pictures and recordings with their INDEX.csv (`lipsync corpus fetch` gets them); without them one face and
# synthetic voices have to do. Every twelfth clip is held out, so CLIPS is at least 12. The default weights:
# MINUTES=150 CLIPS=640 VOICES=2400 with both folders.
MINUTES ?= 10
RUN ?= runs/first
CLIPS ?= 24
VOICES ?= 120
share = $$(awk 'BEGIN { print $(MINUTES) * $(1) }')
train: $(STAMPS)/train
	@$(BIN)/lipsync corpus --out $(RUN)/corpus --clips $(CLIPS) --voices $(VOICES) $(if $(FACES),--faces $(FACES)) $(if $(SPEECH),--speech $(SPEECH))
	@$(BIN)/lipsync train --config model/configs/hearing.toml --corpus $(RUN)/corpus --run $(RUN)/hearing --minutes $(call share,0.15)
	@$(BIN)/lipsync train --config model/configs/expert.toml --corpus $(RUN)/corpus --run $(RUN)/expert --minutes $(call share,0.1)
	@$(BIN)/lipsync train --config model/configs/generator.toml --corpus $(RUN)/corpus --run $(RUN)/generator \
		--hearing $(RUN)/hearing/hearing.safetensors --expert $(RUN)/expert/expert.safetensors --minutes $(call share,0.6)
	@echo "try it: lipsync sync --checkpoint $(RUN)/generator/generator.safetensors --video FACE --audio VOICE --output out.mp4"

# The default weights (or CHECKPOINT) on held-out puppets (made here and kept, or those of CORPUS) and on real people,
# where the reference media lie. Promises are held against real faces only: without them the one face at hand proves nothing.
SHARED ?= $(or $(LIPSYNC_SHARED),../shared)
JUDGED ?= runs/evaluate
PUPPETS := $(JUDGED)/puppets
JUDGED_CLIPS ?= 12
EVALUATE = $(BIN)/lipsync evaluate $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)) $(ARGS)
evaluate: FACES ?= $(wildcard $(SHARED)/media/faces)
evaluate: $(STAMPS)/train
	@mkdir -p $(JUDGED)
	@$(if $(CORPUS),test -d "$(CORPUS)" || { echo "error: there is no folder $(CORPUS)"; exit 2; },\
		$(BIN)/lipsync corpus --out $(PUPPETS) --clips $(JUDGED_CLIPS) --voices 0 --held-out \
		$(if $(FACES),--faces $(FACES)) $(if $(SPEECH),--speech $(SPEECH)))
	@status=0; \
	$(EVALUATE) --corpus $(or $(CORPUS),$(PUPPETS)) --json $(JUDGED)/puppets.json --html $(JUDGED)/puppets_page \
		$(if $(FACES),--check) > $(JUDGED)/puppets.txt || status=$$?; \
	cat $(JUDGED)/puppets.txt; \
	last="puppets, $$(tail -n 1 $(JUDGED)/puppets.txt)"; \
	if ls $(SHARED)/media/clips/grid_*.mpg > /dev/null 2>&1; then \
		$(EVALUATE) $(patsubst %,--clips %,$(wildcard $(SHARED)/media/clips/grid_*.mpg)) --check \
			--json $(JUDGED)/people.json --html $(JUDGED)/people_page > $(JUDGED)/people.txt || status=$$?; \
		cat $(JUDGED)/people.txt; \
		last="$$last; people, $$(tail -n 1 $(JUDGED)/people.txt)"; \
	fi; \
	echo "$$last"; exit $$status

# Every row with the same budget on this machine, by default on what `make train` left; stopped, it goes on where it was.
TAUGHT ?= $(RUN)/corpus
HEARING ?= $(wildcard $(RUN)/hearing/hearing.safetensors)
ROW_MINUTES ?= 60
ablate: $(STAMPS)/train
	@$(BIN)/lipsync ablate --corpus $(TAUGHT) --out $(RUN)/ablation --minutes $(ROW_MINUTES) \
		$(if $(HEARING),--hearing $(HEARING)) $(ARGS)

bench: setup
	@$(BIN)/lipsync bench $(ARGS)

# All of it, or a part: make chaos ARGS="--only kills --jobs 50". Network namespaces need root.
chaos: setup
	@$(BIN)/python -m tests.chaos $(ARGS)

compose-check: setup
	@$(BIN)/python -m tests.compose.compose_check $(ARGS)

clean:
	rm -rf $(VENV) $(STAMPS) build .mypy_cache .ruff_cache .pytest_cache
