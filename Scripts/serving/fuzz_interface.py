#!/usr/bin/env python3
"""Asks a server what its own description (/openapi.json) lets a fuzzer think of, right and wrong: schemathesis.

    Scripts/serving/fuzz_interface.py lacuna-server [--examples 150] [--seed 1]

Needs the `schemathesis` package beside this Python. Fails if a response is a 5xx, takes longer than 20 s, has a status, a form or a
type that the description does not know, accepts what the description forbids, or if the server does not serve afterwards.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

from process import get, memory
from tiny_server import responses, serving, settled

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--examples", type=int, default=150, help="cases of a kind for every path")
parser.add_argument("--seed", type=int, default=1)
options = parser.parse_args()

CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "negative_data_rejection", "unsupported_method", "ignored_auth",
]

with serving(options.program, "--queue", "8") as (url, process):
    began = time.monotonic()
    program = pathlib.Path(sys.executable).absolute().parent / "schemathesis"
    result = subprocess.run([
        program, "run", url + "/openapi.json", "--url", url, "--checks", ",".join(CHECKS), "--max-examples",
        str(options.examples), "--seed", str(options.seed), "--request-timeout", "20", "--workers", "2", "--no-color",
        "--phases", "examples,coverage,fuzzing", "--mode", "all", "--continue-on-failure"], cwd="/tmp")
    settled(url)
    counts = responses(url)
    print(f"{sum(counts.values())} responses in {time.monotonic() - began:.0f} s, by status: {dict(sorted(counts.items()))}")
    print(f"resident: {memory(process) / 2**20:.0f} MiB; health: {json.loads(get(url, '/health'))}")
    # What it is told to wait with is no mistake of the server's.
    broken = {status: count for status, count in counts.items() if status.startswith("5")}
    if broken:
        raise SystemExit(f"the server failed: {broken}")
    if sum(counts.values()) < 1000:
        raise SystemExit("fewer than 1000 cases were tried: more --examples are needed")
sys.exit(result.returncode)
