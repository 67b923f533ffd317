# The whole interface. `make` alone prints it; every target sets up what it needs, continues where it stopped and
# skips what is done.
PRESET ?= mini
RUNS ?= runs
ARGS ?=
CAPTIONER ?= transformers
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VLLM_VENV := .venv-vllm
VLLM_READY := $(VLLM_VENV)/.ready
REPRODUCE := $(BIN)/python -m openrecap reproduce --runs $(RUNS) --preset

.DEFAULT_GOAL := help
.PHONY: help setup setup-vllm data foundation finetune recaption clip dit eval tables report reproduce quick status \
        test test-slow test-vllm check format bench clean

help:  ## print this list
	@echo "OpenRecap: make TARGET [PRESET=quick|mini|mini_full] [ARGS=--redo_stale]   (PRESET=$(PRESET))"
	@echo "ARGS goes to the runner; --redo_stale removes folders made from other data or configs and makes them again."
	@echo "With CAPTIONER=vllm or openai ARGS goes to the captioning job: ARGS=--openai.servers=[http://HOST:PORT/v1]"
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

setup: $(READY)  ## build .venv with the pinned packages

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "OpenRecap needs Python 3.11 or newer: make setup PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup-vllm: $(VLLM_READY)  ## build .venv-vllm with vLLM on CPU, which pins other versions than we do

# Every package is pinned and none of them decides on another: vLLM's own pin of torch fits no torchvision.
$(VLLM_READY): constraints-vllm.txt
	$(PYTHON) -m venv --clear $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement constraints-vllm.txt
	@touch $@

data: $(READY)  ## draw the miniature web
	$(REPRODUCE) $(PRESET) --until data $(ARGS)

foundation: $(READY)  ## train the CLIP that captioner and DiT start from
	$(REPRODUCE) $(PRESET) --until foundation $(ARGS)

finetune: $(READY)  ## fine-tune the captioner
	$(REPRODUCE) $(PRESET) --until captioner $(ARGS)

# Another captioner than the experiments' writes beside theirs: runs/mini/recaption_vllm/web.
ifeq ($(CAPTIONER),transformers)
recaption: $(READY)  ## caption the small web by transformers, or CAPTIONER=vllm, or openai
	$(REPRODUCE) $(PRESET) --until recaption $(ARGS)
else
recaption: $(READY) $(if $(filter vllm,$(CAPTIONER)),$(VLLM_READY))
	$(REPRODUCE) $(PRESET) --until captioner
	$(if $(filter vllm,$(CAPTIONER)),$(VLLM_VENV)/bin,$(BIN))/python -m recaption run \
		--config configs/recaption/$(PRESET).yaml --captioner $(CAPTIONER) --workers 1 \
		--shards $(RUNS)/$(PRESET)/data/web --model $(RUNS)/$(PRESET)/captioner/main/export \
		--output_dir $(RUNS)/$(PRESET)/recaption_$(CAPTIONER)/web $(ARGS)
endif

clip: $(READY)  ## train CLIP on every mix
	$(REPRODUCE) $(PRESET) --until clip $(ARGS)

dit: $(READY)  ## train diffusion transformers on every mix
	$(REPRODUCE) $(PRESET) --until dit $(ARGS)

eval: $(READY)  ## evaluate every run
	$(REPRODUCE) $(PRESET) --until eval $(ARGS)

tables: $(READY)  ## print the paper's tables with our numbers beside
	$(REPRODUCE) $(PRESET) --until tables $(ARGS)

report: $(READY)  ## write the HTML report
	$(REPRODUCE) $(PRESET) --until report $(ARGS)

reproduce: $(READY)  ## everything, from drawing the data to the report
	$(REPRODUCE) $(PRESET) $(ARGS)

quick: $(READY)  ## the same pipeline with small budgets: a first look
	$(REPRODUCE) quick $(ARGS)

status: $(READY)  ## what is done, running, failed and left
	$(BIN)/python -m openrecap status --runs $(RUNS) --preset $(PRESET)

check: $(READY)  ## format, lint, types and import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: $(READY)  ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A file's tests stay together, for they share what they make; one thread each, for processes take all cores.
test: $(READY)  ## fast tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile

test-slow: $(READY) $(VLLM_READY)  ## the quick pipeline end to end, kills, two ranks, learning, vLLM
	$(BIN)/pytest -m 'slow or vllm' --timeout 3600

test-vllm: $(READY) $(VLLM_READY)  ## a published captioner loads in vLLM and says what it says in transformers
	$(BIN)/pytest -m vllm

bench: $(READY)  ## side-by-side measurements
	$(BIN)/python -m benchmarks

clean:  ## remove $(RUNS)/$(PRESET) (asks first) and caches
	@printf "Remove $(RUNS)/$(PRESET)? [y/N] "; read answer; [ "$$answer" = y ] && rm -rf $(RUNS)/$(PRESET) || true
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build
