#!/usr/bin/env python3
"""Writes small dictionaries with the SAELens package, with inputs, codes and reconstructions beside them, for
Tests/LacunaDictionaryTests/Fixtures/saelens; with --read DIR loads dictionaries that Lacuna wrote there and compares.

    python3 -m venv venv && venv/bin/pip install sae-lens==6.54.12
    venv/bin/python Scripts/fixtures_dictionary.py Tests/LacunaDictionaryTests/Fixtures/saelens
    venv/bin/python Scripts/fixtures_dictionary.py --read DIR
"""
import os
import sys

import torch
from safetensors.torch import load_file, save_file

import sae_lens
from sae_lens import SAE

D, WIDTH, OUT, TOKENS = 6, 10, 4, 12

KINDS = {
    "standard": {},
    "topk": {"k": 3},
    "topk_rescaled": {"k": 3, "rescale_acts_by_decoder_norm": True},
    "abstopk": {"k": 3},
    "jumprelu": {},
    "gated": {},
    "transcoder": {"d_out": OUT},
    "jumprelu_transcoder": {"d_out": OUT},
    "matching_pursuit": {"max_iterations": 3, "residual_threshold": 0.0, "stop_on_duplicate_support": False},
    "uncentered": {},
}


def architecture(kind):
    return {"topk_rescaled": "topk", "uncentered": "standard"}.get(kind, kind)


def make(kind, folder):
    torch.manual_seed(sorted(KINDS).index(kind))
    sae_class, config_class = sae_lens.registry.get_sae_class(architecture(kind))
    centers = kind != "uncentered" and "transcoder" not in kind
    config = config_class(d_in=D, d_sae=WIDTH, apply_b_dec_to_input=centers, **KINDS[kind])
    sae = sae_class(config)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
        if hasattr(sae, "threshold"):
            sae.threshold.copy_(torch.rand_like(sae.threshold))
        if kind == "matching_pursuit":
            sae.W_dec /= sae.W_dec.norm(dim=-1, keepdim=True)
        x = torch.randn(TOKENS, D)
        codes = sae.encode(x)
        y = sae.decode(codes)
    sae.save_model(folder)
    save_file({"x": x, "codes": codes.contiguous(), "y": y.contiguous()}, os.path.join(folder, "expected.safetensors"))


def check(folder):
    sae = SAE.load_from_disk(folder)
    expected = load_file(os.path.join(folder, "..", os.path.basename(folder) + ".expected.safetensors"))
    with torch.no_grad():
        codes = sae.encode(expected["x"])
        y = sae.decode(codes)
    error = (y - expected["y"]).abs().max().item()
    print(f"{os.path.basename(folder):24s} {type(sae).__name__:24s} largest difference {error:.2e}")
    return error < 1e-5


if __name__ == "__main__":
    if sys.argv[1] == "--read":
        root = sys.argv[2]
        names = sorted(n for n in os.listdir(root) if os.path.isdir(os.path.join(root, n)))
        sys.exit(0 if all([check(os.path.join(root, n)) for n in names]) and names else 1)
    for kind in KINDS:
        make(kind, os.path.join(sys.argv[1], kind))
