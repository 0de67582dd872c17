"""Opens GGUF files that Lacuna wrote with the `gguf` package and, if it is there, with llama.cpp, and compares what the two
programs write after a prompt, greedily.

    python3 Scripts/check_gguf.py FILE.gguf [--lacuna .build/release/lacuna] [--prompt TEXT] [--tokens N]

Needs: pip install gguf numpy, and xllamacpp, a wheel of llama.cpp, for the second part. Ends with 1 where something differs: the
tokens of the prompt, or one of the first four that are written (later ones may part where two are about as probable, as the
programs round inputs differently).
"""

import argparse
import json
import subprocess
import sys
import urllib.request

import gguf
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--lacuna", default=".build/release/lacuna")
parser.add_argument("--prompt", default="The capital of France is")
parser.add_argument("--tokens", type=int, default=16)
options = parser.parse_args()

reader = gguf.GGUFReader(options.file)
architecture = reader.fields["general.architecture"].contents()
layers = reader.fields[f"{architecture}.block_count"].contents()
print(f"{options.file}: {architecture}, {layers} layers, {len(reader.tensors)} tensors, {len(reader.fields)} metadata")
names = {tensor.name for tensor in reader.tensors}
assert {"token_embd.weight", "output_norm.weight"} <= names and f"blk.{layers - 1}.ffn_down.weight" in names
zeros = total = 0
for tensor in reader.tensors:
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    assert np.isfinite(values).all(), tensor.name
    if ".attn_q." in tensor.name or ".ffn_" in tensor.name and "norm" not in tensor.name:
        zeros, total = zeros + int((values == 0).sum()), total + values.size
print(f"all numbers finite; {zeros / max(total, 1):.1%} zeros in the blocks' matrices")

try:
    import xllamacpp
except ImportError:
    print("xllamacpp is not installed: not run in llama.cpp")
    sys.exit(0)

parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.n_ctx, parameters.n_parallel, parameters.warmup = options.file, 256, 1, False
server = xllamacpp.Server(parameters)


def ask(path, **body):
    request = urllib.request.Request(
        server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.loads(urllib.request.urlopen(request).read())


tokens = ask("/tokenize", content=options.prompt, add_special=True, parse_special=True)["tokens"]
theirs = ask(
    "/completion", prompt=tokens, n_predict=options.tokens, temperature=0, top_k=1, return_tokens=True, cache_prompt=False)
ours = json.loads(
    subprocess.check_output(
        [options.lacuna, "run", options.file, "--prompt", options.prompt, "--max-tokens", str(options.tokens), "--json"]
    )
)
print("llama.cpp:", theirs["content"])
print("Lacuna:   ", ours["text"])
same = next((i for i, (a, b) in enumerate(zip(theirs["tokens"], ours["tokens"])) if a != b), len(ours["tokens"]))
print(f"prompt tokens equal: {tokens == ours['promptTokens']}; the first {same} of {len(ours['tokens'])} tokens written equal")
sys.exit(0 if tokens == ours["promptTokens"] and same >= min(4, len(ours["tokens"])) else 1)
