#!/usr/bin/env python3
"""Scores a text through a server, as lm-evaluation-harness does, and compares with what `lacuna eval` says of it.

    Scripts/serving/scores.py URL TEXT EVAL.json [--tokens 4096] [--window 512]

EVAL.json is what `lacuna eval MODEL --text TEXT --tokens N --window W --json` printed for the model that is served.
"""
import argparse
import json
import sys
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("text")
parser.add_argument("evaluation")
parser.add_argument("--tokens", type=int, default=4096)
parser.add_argument("--window", type=int, default=512)
options = parser.parse_args()


def ask(path, body):
    request = urllib.request.Request(
        options.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request))


tokens = ask("/tokenize", {"prompt": open(options.text).read()[: options.tokens * 12]})["tokens"][: options.tokens]
windows = [tokens[i : i + options.window] for i in range(0, len(tokens), options.window)]
total, count = 0.0, 0
for start in range(0, len(windows), 4):
    batch = [w for w in windows[start : start + 4] if len(w) > 1]
    answer = ask(
        "/v1/completions",
        {"prompt": batch, "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0, "seed": 1234},
    )
    for window, choice in zip(batch, sorted(answer["choices"], key=lambda c: c["index"])):
        values = choice["logprobs"]["token_logprobs"]
        assert len(values) == len(window) + 1 and values[0] is None
        total -= sum(values[1 : len(window)])
        count += len(window) - 1
evaluation = json.load(open(options.evaluation))[0]
mean = total / count
expected = evaluation["loss"]
print(f"{count} tokens: {mean:.6f} nats a token through the server, {expected:.6f} by lacuna eval, apart {abs(mean - expected):.2e}")
sys.exit(0 if abs(mean - expected) < 1e-3 and count == evaluation["tokensScored"] else 1)
