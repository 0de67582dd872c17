#!/usr/bin/env python3
"""Reads the JSON arrays that several runs of llama-bench print, one after another, from standard input and writes the
form that `bench` reads: for every file, thread count and test the fastest setting's tokens per second.
"""

import argparse
import json
import os
import sys


def arrays(text: str):
    decoder, position = json.JSONDecoder(), 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position == len(text):
            return
        value, position = decoder.raw_decode(text, position)
        yield value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", required=True, help="version of the source package")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()

    best: dict[tuple, dict] = {}
    build = processor = "unknown"
    for entry in (entry for array in arrays(sys.stdin.read()) for entry in array):
        build, processor = entry["build_commit"], entry["cpu_info"]
        phase = "decode" if entry["n_gen"] else "prefill"
        # "llama ?B all F32", "llama 256M BF16", "llama ?B Q4_1"
        values = entry["model_type"].split()[-1].lower()
        samples = sorted(entry["samples_ts"])
        row = {
            "peer": "llama.cpp",
            "values": values,
            "phase": phase,
            "threads": entry["n_threads"],
            "tokensPerSecond": samples[len(samples) // 2],
            "best": samples[-1],
            "worst": samples[0],
            "tokens": entry["n_gen"] or entry["n_prompt"],
            "bytes": entry["model_size"],
            "flashAttention": bool(entry["flash_attn"]),
        }
        key = (row["values"], row["phase"], row["threads"])
        if key not in best or best[key]["tokensPerSecond"] < row["tokensPerSecond"]:
            best[key] = row
    result = {
        "peer": "llama.cpp",
        "version": f"llama-cpp-python {arguments.version} (llama.cpp {build})",
        "processor": processor,
        "results": list(best.values()),
    }
    with open(arguments.output + ".partial", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    os.replace(arguments.output + ".partial", arguments.output)
    for row in result["results"]:
        print(
            f"llama.cpp {row['values']:<5} {row['phase']:<8} {row['threads']} thread(s): "
            f"{row['tokensPerSecond']:.1f} tokens/s",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
