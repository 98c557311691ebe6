# The habits of this house. `make help` lists them.
# The first that runs: pyenv has a name for each version that it could have.
PYTHON ?= $(or $(shell for python in python3.11 python3.12; do $$python -c '' 2>/dev/null && echo $$python && break; done),python3.11)
VENV ?= .venv
BIN := $(VENV)/bin
# Many tests wait for a timer: one worker more than there are cores keeps the cores busy. A file's tests stay together.
JOBS ?= $(shell expr $$(nproc) + 1)
SOAK_S ?= 3600
CHART_TESTS := tests/deploy/test_chart.py tests/deploy/test_chart_backup.py tests/deploy/test_chart_pods.py \
	tests/deploy/test_chart_values.py tests/deploy/test_monitoring.py
PACKAGES := services/common/teletrunk services/manager/teletrunk_manager services/worker/teletrunk_worker \
	services/session_store/teletrunk_session_store sandbox/teletrunk_sandbox

.DEFAULT_GOAL := help
TARGETS := manager worker session-store sandbox
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
SCRIPTS := tools/install-baresip tools/asterisk-image tools/build-images tests/deploy/servers/entrypoint deploy/docker/assemble deploy/compose/make-secrets $(addprefix tools/kube/,base-image build-kubernetes cluster node node-config \
	checkov pause-image prepare)

.PHONY: help setup demo run test walk conformance chaos fuzz errors-doc site lint type proto proto-check bench bench-accounts bench-flood bench-malformed bench-speech matrix soak chart chart-live check locks images

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

INSTALL = $(BIN)/pip install --disable-pip-version-check --progress-bar off --only-binary pjsua2-python -c requirements.lock
# pip's names of what it collects, and nothing else of what it says; its errors come through.
NAMES = | sed -un 's/^Collecting \([^ ]*\).*/  \1/p'
# Names for debuggers are 115 MB in these. No others: strip breaks what was rewritten for its wheel (numpy's, pjsua2's).
SYMBOLS = -name '*.so' \( -name 'ntgcalls.*' -o -path '*/uvloop/*' -o -path '*/asyncpg/*' -o -path '*/sqlalchemy/*' -o -path '*/greenlet/*' \)

$(VENV)/.runs: pyproject.toml requirements.lock
	@$(PYTHON) -c '' 2>/dev/null || { echo "Python 3.11 or 3.12 is needed: apt install python3.11 python3.11-venv, or say PYTHON=..."; exit 1; }
	@echo "Making $(VENV), once; it takes a minute or two. Installing:"
	@$(PYTHON) -m venv $(VENV)
	@bash -o pipefail -c "$(INSTALL) -e '.[manager,worker,session-store,sandbox]' $(NAMES)"
	@! command -v strip >/dev/null || find $(VENV)/lib $(SYMBOLS) -exec strip --strip-unneeded {} +
	@touch $@

$(VENV)/.ready: $(VENV)/.runs
	@echo "Installing what tests and checks need:"
	@bash -o pipefail -c "$(INSTALL) -e '.[manager,worker,session-store,sandbox,dev]' $(NAMES)"
	@touch $@

setup: $(VENV)/.ready ## a virtual environment with everything in it

demo: $(VENV)/.runs ## calls with sound both ways between a SIP phone and a Telegram user
	@command -v baresip >/dev/null || ./tools/install-baresip
	$(BIN)/teletrunk demo

run: $(VENV)/.runs ## the three services with the local Telegram, until Ctrl-C
	$(BIN)/teletrunk up --sandbox

test: setup ## all tests but walk and chart-live, JOBS files at a time; the slowest twenty are named
	$(BIN)/python -m pytest -q -p no:cacheprovider --ignore=tests/live --ignore=tests/walk -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=20

walk: setup ## the tutorial, typed as it stands in a clean clone, with the minutes that it took; "Several machines" on machines made of namespaces (root)
	$(BIN)/python -m pytest -q -s -p no:cacheprovider tests/walk

conformance: setup ## the error contract: every refusal caused for real, read from the wire and timed
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/conformance

lint: setup ## ruff, import rules, buf, shellcheck, hadolint
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/released.binpb # services one version apart work together
	$(BIN)/shellcheck -x $(SCRIPTS)
	$(BIN)/hadolint -c deploy/docker/hadolint.yaml deploy/docker/Dockerfile

type: setup ## mypy --strict, over tests and benchmarks too
	$(BIN)/mypy $(PACKAGES) tests benchmarks

proto: setup ## generate the gRPC code from protos/
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos --python_out=services/common --grpc_python_out=services/common \
		--mypy_out=quiet:services/common --mypy_grpc_out=quiet:services/common \
		--include_source_info --descriptor_set_out=services/common/teletrunk/v1/described.binpb protos/teletrunk/v1/*.proto

proto-check: proto ## fails when the generated code is not what protos/ says
	git diff --exit-code -- services/common/teletrunk/v1

chaos: setup ## ten thousand lives of a call with ports that misbehave; twenty rounds of kills, stops, cuts and crashes, under load and with calls that are up
	TELETRUNK_CALL_EXAMPLES=10000 $(BIN)/python -m pytest -q -p no:cacheprovider -n $(JOBS) tests/component/worker/test_call_any_order.py tests/component/worker/test_call_on_hosts.py
	TELETRUNK_CHAOS_ROUNDS=20 $(BIN)/python -m pytest -q -s -p no:cacheprovider tests/chaos

fuzz: setup ## half an hour of broken requests and answers beside good calls; TELETRUNK_FUZZ_SEED, _SECONDS (of each third), _RATE
	TELETRUNK_FUZZ_PROMPT_S=0.5 TELETRUNK_FUZZ_SECONDS=$${TELETRUNK_FUZZ_SECONDS:-600} $(BIN)/python -m pytest -q -s -p no:cacheprovider tests/fuzz/test_fuzz.py tests/fuzz/test_exchange.py tests/fuzz/test_registrar_answers.py

errors-doc: setup ## docs/errors.md and docs/metrics.md from their tables
	$(BIN)/teletrunk errors-doc
	$(BIN)/teletrunk metrics-doc

site: setup ## docs/ as a site under site/, every link checked
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/mkdocs build --strict

bench: setup ## what an idle installation and bridged calls cost: CPU, memory, delay, late sound
	$(BIN)/python benchmarks/idle.py
	$(BIN)/python benchmarks/bridge.py
	$(BIN)/python benchmarks/control_plane.py
	$(BIN)/python benchmarks/leases.py

bench-accounts: setup ## what an account costs that is signed in and waits
	$(BIN)/python benchmarks/accounts.py

bench-flood: setup ## datagrams of strangers a second that the SIP port bears while a PBX registers and calls; what a PBX's own cost
	$(BIN)/python benchmarks/flood.py
	$(BIN)/python benchmarks/setups.py

bench-malformed: setup ## what 100,000 malformed messages leave in the Worker's memory
	$(BIN)/python benchmarks/malformed.py

bench-speech: setup ## PESQ of speech at the other end; needs espeak-ng, sox, opus-tools, and PESQ_PYTHON, a Python with the module pesq
	$(BIN)/python benchmarks/speech.py --pesq $(PESQ_PYTHON)

matrix: setup ## every connection type, transport, codec and direction, with SRTP and without, against Asterisk; the table
	$(BIN)/python -m pytest -q -s -p no:cacheprovider -m matrix tests/interop/test_matrix.py

soak: setup ## SOAK_S seconds of calls that come and go, nothing may grow or be lost; ten minutes without a Manager
	TELETRUNK_OUTAGE_S=600 $(BIN)/python -m pytest -q -p no:cacheprovider tests/e2e/test_long_outage.py
	$(BIN)/python benchmarks/soak.py --seconds $(SOAK_S)

# The versions are requirements.lock's; the hashes are of every file that the index has, for one platform.
LOCK = $(BIN)/uv pip compile --quiet --no-annotate --no-header --generate-hashes --python-version 3.12 --python-platform x86_64-manylinux_2_28
locks: setup ## deploy/docker/requirements-*.txt: what goes into the images, with hashes; the client generator's
	for target in $(TARGETS); do \
		$(LOCK) pyproject.toml --extra $$target -c requirements.lock -o deploy/docker/requirements-$$target.txt || exit 1; done
	$(LOCK) deploy/docker/requirements-build.in -o deploy/docker/requirements-build.txt
	$(LOCK) tests/deploy/client-generator.in -o tests/deploy/client-generator.txt

images: ## the four container images, localhost/teletrunk/{manager,worker,session-store,sandbox}:VERSION, by podman
	tools/build-images $(VERSION)

chart: setup ## the Helm chart for every values file of deploy/k8s/ci: helm, Kubernetes' schemas, checkov, promtool, our own rules
	$(BIN)/python -m pytest -q -p no:cacheprovider $(CHART_TESTS)

chart-live: setup images ## the chart on a Kubernetes of its own (root, Debian 12): install, calls, upgrade, faults, rollback
	$(BIN)/python -m pytest -q -s -p no:cacheprovider tests/live

check: lint type test ## what CI runs, but images and cluster
