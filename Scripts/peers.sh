#!/usr/bin/env bash
# Builds llama.cpp with every instruction of this processor, converts a model to plain F32 and BF16 GGUF, and measures
# how fast llama.cpp runs those files. Writes one JSON file that `bench` merges into its tables.
#
#   Scripts/peers.sh MODEL.gguf [RESULT.json]
#
# PEERS     working directory, kept between runs (default: ${XDG_CACHE_HOME:-~/.cache}/lacuna/peers)
# THREADS   thread counts, comma-separated (default: 1 and the number of processors)
# REPEATS   repetitions of every measurement (default: 5)
# The first run downloads about 80 MB by pip and compiles for several minutes; later runs only measure.
set -euo pipefail

model=$(realpath "${1:?usage: peers.sh MODEL.gguf [RESULT.json]}")
here=$(cd "$(dirname "$0")" && pwd)
peers=${PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/lacuna/peers}
result=$(realpath -m "${2:-$peers/llama-cpp.json}")
processors=$(getconf _NPROCESSORS_ONLN)
threads=${THREADS:-$([ "$processors" = 1 ] && echo 1 || echo "1,$processors")}
repeats=${REPEATS:-5}
version=0.3.36 # of llama-cpp-python, whose source archive carries the llama.cpp that is measured
mkdir -p "$peers"

if [ ! -x "$peers/venv/bin/cmake" ] || [ ! -d "$peers"/venv/lib/python3*/site-packages/gguf ]; then
    python3 -m venv "$peers/venv"
    "$peers/venv/bin/pip" install --quiet cmake ninja numpy gguf scikit-build-core
fi
export PATH="$peers/venv/bin:$PATH"

bench=$peers/build/bin/llama-bench
if [ ! -x "$bench" ]; then
    archive=$peers/llama_cpp_python-$version.tar.gz
    if [ ! -f "$archive" ]; then
        # Only this package as source: building its build tools from source as well would take an hour.
        pip download --quiet --no-deps --no-build-isolation --no-binary llama-cpp-python \
            "llama-cpp-python==$version" --dest "$peers"
    fi
    tar -xzf "$archive" -C "$peers"
    source=$peers/llama_cpp_python-$version/vendor/llama.cpp
    cmake -S "$source" -B "$peers/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
        -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF \
        -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF >"$peers/configure.log"
    nice -n 19 cmake --build "$peers/build" --target llama-bench --parallel "${JOBS:-$processors}" >"$peers/build.log"
fi

name=$(basename "$model" .gguf)
for type in f32 bf16; do
    converted=$peers/$name.$type.gguf
    [ -f "$converted" ] || python3 "$here/peers_convert.py" "$model" "$converted" --type "$type"
done

# A peer is measured at its best: flash attention as well as plain attention, and the faster one counts.
for attention in 0 1; do
    for file in "$peers/$name.f32.gguf" "$peers/$name.bf16.gguf" "$model"; do
        "$bench" --model "$file" --threads "$threads" --n-prompt 128 --n-gen 64 --flash-attn "$attention" \
            --repetitions "$repeats" --output json
    done
done | python3 "$here/peers_merge.py" --version "$version" --output "$result"
