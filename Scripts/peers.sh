#!/usr/bin/env bash
# Builds llama.cpp (peers_llama.sh), converts a model to plain F32 and BF16 GGUF, and measures how fast llama.cpp runs those
# files. Writes one JSON file that `bench` merges into its tables.
#
#   Scripts/peers.sh MODEL.gguf [RESULT.json]
#
# PEERS     working directory, kept between runs (default: ${XDG_CACHE_HOME:-~/.cache}/lacuna/peers)
# THREADS   thread counts, comma-separated (default: 1 and the number of processors)
# REPEATS   repetitions of every measurement (default: 5)
set -euo pipefail

model=$(realpath "${1:?usage: peers.sh MODEL.gguf [RESULT.json]}")
here=$(cd "$(dirname "$0")" && pwd)
export PEERS=${PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/lacuna/peers}
result=$(realpath -m "${2:-$PEERS/llama-cpp.json}")
processors=$(getconf _NPROCESSORS_ONLN)
threads=${THREADS:-$([ "$processors" = 1 ] && echo 1 || echo "1,$processors")}
repeats=${REPEATS:-5}

bench=$("$here/peers_llama.sh" llama-bench)
version=$("$here/peers_llama.sh" --version)
export PATH="$PEERS/venv/bin:$PATH"

name=$(basename "$model" .gguf)
for type in f32 bf16; do
    converted=$PEERS/$name.$type.gguf
    [ -f "$converted" ] || python3 "$here/peers_convert.py" "$model" "$converted" --type "$type"
done

# A peer is measured at its best: flash attention as well as plain attention, and the faster one counts.
for attention in 0 1; do
    for file in "$PEERS/$name.f32.gguf" "$PEERS/$name.bf16.gguf" "$model"; do
        "$bench" --model "$file" --threads "$threads" --n-prompt 128 --n-gen 64 --flash-attn "$attention" \
            --repetitions "$repeats" --output json
    done
done | python3 "$here/peers_merge.py" --version "$version" --output "$result"
