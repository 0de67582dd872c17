"""Opens GGUF files that Lacuna wrote with the `gguf` package and, if it is there, with llama.cpp, and compares what the two
programs write after a prompt, greedily.

    python3 Scripts/check_gguf.py FILE.gguf [--lacuna .build/release/lacuna] [--prompt TEXT] [--tokens N]

Needs: pip install gguf numpy, and llama-cpp-python for the second part. Ends with 1 where something differs.
"""

import argparse
import json
import subprocess
import sys

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
    from llama_cpp import Llama
except ImportError:
    print("llama-cpp-python is not installed: not run there")
    sys.exit(0)

model = Llama(options.file, n_ctx=256, verbose=False)
tokens = model.tokenize(options.prompt.encode(), special=True)
theirs = []
for token in model.generate(tokens, temp=0, top_k=1):
    if len(theirs) == options.tokens or token == model.token_eos():
        break
    theirs.append(token)
ours = json.loads(
    subprocess.check_output(
        [options.lacuna, "run", options.file, "--prompt", options.prompt, "--max-tokens", str(options.tokens), "--json"]
    )
)
print("llama.cpp:", model.detokenize(theirs).decode(errors="replace"))
print("Lacuna:   ", ours["text"])
same = sum(1 for _ in zip(theirs, ours["tokens"]) if _[0] == _[1])
print(f"prompt tokens equal: {tokens == ours['promptTokens']}; {same} of {len(theirs)} tokens written equal")
sys.exit(0 if tokens == ours["promptTokens"] and theirs[:4] == ours["tokens"][:4] else 1)
