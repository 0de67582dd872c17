#!/usr/bin/env python3
"""Writes the numbers that the tests of LacunaLearn and LacunaModels compare with: convolutions of sequences and volumes,
transposed convolutions, images of other sizes, the overlap of boxes and batch norm by PyTorch, frequencies of rotary positions by transformers.

    python3 -m venv venv && venv/bin/pip install torch transformers
    venv/bin/python Scripts/fixtures_learning.py Tests

Numbers are drawn from a seed, so a run with the same versions writes the same files.
"""

import json
import pathlib
import sys

import torch
import transformers
from torch.nn import functional as F
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

generator = torch.Generator().manual_seed(11)


def random(*shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def flat(tensor):
    return {"shape": list(tensor.shape), "values": [round(v, 9) for v in tensor.detach().reshape(-1).tolist()]}


def case(function, *inputs):
    """Inputs, result, and the gradients of the result weighted by its places."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    y = function(*inputs)
    weights = 1 + torch.arange(y.numel(), dtype=torch.float64).reshape(y.shape) / y.numel()
    (y * weights).sum().backward()
    return {"inputs": [flat(x) for x in inputs], "output": flat(y), "gradients": [flat(x.grad) for x in inputs]}


def overlap(a, b):
    """1 - GIoU is the loss of Rezatofighi and others; written here from its definition."""
    def area(x):
        return (x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1])
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = area(a) + area(b) - shared
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return shared / union - (hull - union) / hull


def boxes(n):
    corner = random(n, 2)
    return torch.cat([corner, corner + 0.3 + random(n, 2).abs()], 1)


def batch_norm():
    norm = torch.nn.BatchNorm2d(2, momentum=0.3).double()
    batches = [random(2, 2, 2, 3) * 2 + 1 for _ in range(3)]
    for batch in batches:
        output = norm(batch)
    return {"batches": [flat(b) for b in batches], "output": flat(output), "mean": flat(norm.running_mean),
            "variance": flat(norm.running_var), "evaluated": flat(norm.eval()(batches[0]))}


def frequencies(**scaling):
    config = transformers.LlamaConfig(
        hidden_size=64, num_attention_heads=4, head_dim=16, max_position_embeddings=131072,
        rope_parameters={"rope_theta": 500000.0, **scaling})
    values, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, "cpu")
    assert factor == 1
    return [float(v) for v in values]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=None, separators=(",", ":")) + "\n")


def main(tests):
    write(tests / "LacunaLearnTests/Fixtures/operations.json", {
        "convolution_1d": case(
            lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1, dilation=2, groups=2),
            random(2, 4, 9), random(6, 2, 3), random(6)),
        "convolution_1d_depthwise": case(
            lambda x, w: F.conv1d(x, w, padding=2, groups=3), random(2, 3, 5), random(3, 1, 3)),
        "convolution_3d": case(
            lambda x, w, b: F.conv3d(x, w, b, stride=2, padding=1), random(2, 2, 4, 5, 3), random(3, 2, 2, 3, 2), random(3)),
        "convolution_3d_groups": case(
            lambda x, w: F.conv3d(x, w, dilation=2, groups=2), random(1, 4, 5, 3, 4), random(2, 2, 2, 2, 2)),
        "transposed": case(
            lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2),
            random(2, 4, 3, 2), random(4, 3, 3, 2), random(6)),
        "transposed_dilated": case(
            lambda x, w: F.conv_transpose2d(x, w, dilation=2), random(1, 2, 3, 3), random(2, 2, 2, 2)),
        "overlap": case(overlap, boxes(12), boxes(12)),
        "batch_norm": batch_norm(),
        **{f"resized_{name}_{height}x{width}": case(
            lambda x: F.interpolate(x, (height, width), **settings), random(1, 2, 5, 4))
           for height, width in [(7, 8), (3, 2), (1, 1)]
           for name, settings in [
               ("nearest", dict(mode="nearest-exact")), ("bilinear", dict(mode="bilinear")),
               ("smooth", dict(mode="bilinear", antialias=True))]},
    })
    write(tests / "LacunaModelsTests/Fixtures/rotary.json", {
        "default": [500000.0 ** (-2 * i / 16) for i in range(8)],
        "linear": frequencies(rope_type="linear", factor=4.0),
        "llama3": frequencies(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=8192),
    })


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
