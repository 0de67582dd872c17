#!/usr/bin/env bash
# Builds a program of llama.cpp with every instruction of this processor, unless it is there, and prints its path.
#
#   Scripts/peers_llama.sh llama-bench|llama-server
#
# PEERS     working directory, kept between runs (default: ${XDG_CACHE_HOME:-~/.cache}/lacuna/peers)
# JOBS      compilers at once (default: the number of processors)
# The first run downloads about 80 MB by pip and compiles for several minutes.
set -euo pipefail

program=${1:?usage: peers_llama.sh llama-bench|llama-server}
peers=${PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/lacuna/peers}
version=0.3.36 # of llama-cpp-python, whose source archive carries the llama.cpp that is built
if [ "$program" = --version ]; then
    echo "$version"
    exit
fi
mkdir -p "$peers"
if [ ! -x "$peers/venv/bin/cmake" ] || [ ! -d "$peers"/venv/lib/python3*/site-packages/gguf ]; then
    python3 -m venv "$peers/venv"
    "$peers/venv/bin/pip" install --quiet cmake ninja numpy gguf scikit-build-core >&2
fi
export PATH="$peers/venv/bin:$PATH"

if [ ! -x "$peers/build/bin/$program" ]; then
    archive=$peers/llama_cpp_python-$version.tar.gz
    if [ ! -f "$archive" ]; then
        # Only this package as source: building its build tools from source as well would take an hour.
        pip download --quiet --no-deps --no-build-isolation --no-binary llama-cpp-python \
            "llama-cpp-python==$version" --dest "$peers" >&2
    fi
    source=$peers/llama_cpp_python-$version/vendor/llama.cpp
    [ -d "$source" ] || tar -xzf "$archive" -C "$peers"
    cmake -S "$source" -B "$peers/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
        -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_SERVER=ON -DLLAMA_USE_PREBUILT_UI=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF >"$peers/configure.log"
    nice -n 19 cmake --build "$peers/build" --target "$program" \
        --parallel "${JOBS:-$(getconf _NPROCESSORS_ONLN)}" >"$peers/build.log"
fi
echo "$peers/build/bin/$program"
