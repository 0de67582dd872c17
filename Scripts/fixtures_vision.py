#!/usr/bin/env python3
"""Makes what PyTorch and Pillow say of files of tensors, pictures and mobile networks, for the tests.

    python3 Scripts/fixtures_vision.py [efficientnet-lite0-57934424.pth]

Needs torch, numpy and pillow. With the checkpoint of `lacuna data efficientnet-lite0`, what the trained network says is written too.
"""
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Tests")
TORCH = os.path.join(ROOT, "LacunaIOTests", "Fixtures", "torch")
PICTURES = os.path.join(ROOT, "LacunaLearnTests", "Fixtures", "pictures")
MODELS = os.path.join(ROOT, "LacunaModelsTests", "Fixtures", "efficientnet")
EPSILON = 1e-3
# Blocks, kernel, step, expansion, outputs.
LITE0 = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
         (1, 3, 1, 6, 320)]
SMALL = [(1, 3, 1, 1, 6), (3, 5, 2, 2, 8), (2, 3, 1, 3, 12)]


def rounded(values):
    return [float(np.float32(v)) for v in values]


def tensors():
    """One state in both kinds of file: types, views of one storage, a number beside, a dictionary inside, a parameter."""
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(4, 6, generator=generator)
    state = {
        "epoch": 3,
        "rate": 0.5,
        "name": "ä",
        "whole": base,
        "part": base[1:3],
        "scalar": torch.tensor(7, dtype=torch.int64),
        "layer": {
            "half": torch.randn(5, generator=generator).half(),
            "bfloat": torch.randn(3, generator=generator).bfloat16(),
            "double": torch.randn(2, 2, generator=generator, dtype=torch.float64),
            "bytes": torch.arange(6, dtype=torch.uint8).reshape(2, 3),
            "flags": torch.tensor([True, False]),
            "parameter": torch.nn.Parameter(torch.randn(2, generator=generator)),
        },
        "empty": torch.zeros(0, 3),
    }
    os.makedirs(TORCH, exist_ok=True)
    torch.save(state, os.path.join(TORCH, "stream.pth"), _use_new_zipfile_serialization=False)
    torch.save(state, os.path.join(TORCH, "archive.pth"))
    views = {"a": base.t(), "b": base[1:3, ::2].t(), "c": base.reshape(3, 2, 4).permute(1, 0, 2)}
    torch.save(views, os.path.join(TORCH, "transposed.pth"))
    torch.save({"a": torch.ones(2, 1).expand(2, 3)}, os.path.join(TORCH, "repeated.pth"))
    torch.save(torch.nn.Linear(2, 1), os.path.join(TORCH, "module.pth"))
    torch.save({"a": 1}, os.path.join(TORCH, "numbers.pth"))
    expected = {}

    def note(prefix, value):
        for key, item in value.items():
            name = f"{prefix}{key}"
            if isinstance(item, dict):
                note(name + ".", item)
            elif isinstance(item, torch.Tensor):
                expected[name] = {"shape": list(item.shape), "values": rounded(item.detach().double().flatten().tolist())}

    note("", state)
    with open(os.path.join(TORCH, "expected.json"), "w") as file:
        json.dump(expected, file)


def pictures():
    """Pictures that one can see through, with what Pillow shows of them over white."""
    os.makedirs(PICTURES, exist_ok=True)
    random = np.random.default_rng(2)
    y, x = np.mgrid[0:13, 0:19]
    smooth = np.stack([x * 13, y * 19, (x * y) % 256], -1).astype(np.uint8)
    random.integers(0, 256, (13, 19, 3), dtype=np.uint8)
    alpha = random.integers(0, 256, (13, 19, 1), dtype=np.uint8)
    images = {
        "alpha": Image.fromarray(np.concatenate([smooth, alpha], -1), "RGBA"),
        "grey-alpha": Image.fromarray(np.concatenate([smooth[..., :1], alpha], -1), "LA"),
        "palette": Image.fromarray(smooth).quantize(7),
    }
    expected = {}
    for name, image in images.items():
        path = os.path.join(PICTURES, f"over-white-{name}.png")
        image.save(path, **({"transparency": 2} if name == "palette" else {}))
        rgba = np.asarray(Image.open(path).convert("RGBA")).astype(np.float64) / 255
        values = (1 - rgba[..., 3:] * (1 - rgba[..., :3])).transpose(2, 0, 1)
        values = values[:1] if name == "grey-alpha" else values
        expected[name] = {"shape": list(values.shape), "values": [round(float(v), 5) for v in values.flatten()]}
    with open(os.path.join(PICTURES, "over-white.json"), "w") as file:
        json.dump(expected, file)


def same(x, kernel, step):
    """Zeros as TensorFlow's SAME has them."""
    def around(length):
        total = max(0, (-(-length // step) - 1) * step + kernel - length)
        return total // 2, total - total // 2
    (top, bottom), (left, right) = around(x.shape[-2]), around(x.shape[-1])
    return F.pad(x, [left, right, top, bottom])


def forward(state, stages, x):
    def normalized(x, name):
        part = lambda p: state[f"{name}.{p}"]
        return F.batch_norm(x, part("running_mean"), part("running_var"), part("weight"), part("bias"), False, 0, EPSILON)
    stem = state["_conv_stem.weight"]
    x = F.relu6(normalized(F.conv2d(same(x, stem.shape[-1], 2), stem, stride=2), "_bn0"))
    index = 0
    for count, kernel, step, expansion, outputs in stages:
        for position in range(count):
            block, before, step = f"_blocks.{index}", x, step if position == 0 else 1
            if expansion != 1:
                x = F.relu6(normalized(F.conv2d(x, state[f"{block}._expand_conv.weight"]), f"{block}._bn0"))
            filters = state[f"{block}._depthwise_conv.weight"]
            x = F.conv2d(same(x, kernel, step), filters, stride=step, groups=x.shape[1])
            x = F.relu6(normalized(x, f"{block}._bn1"))
            x = normalized(F.conv2d(x, state[f"{block}._project_conv.weight"]), f"{block}._bn2")
            if step == 1 and before.shape == x.shape:
                x = x + before
            index += 1
    x = F.relu6(normalized(F.conv2d(x, state["_conv_head.weight"]), "_bn1"))
    return F.linear(x.mean((2, 3)), state["_fc.weight"], state["_fc.bias"])


def small_state(stages, stem, head, classes):
    generator = torch.Generator().manual_seed(3)
    state = {}

    def convolution(name, normalization, outputs, inputs, kernel):
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator) / (inputs * kernel ** 2) ** 0.5
        state[f"{normalization}.weight"] = 1 + 0.3 * torch.randn(outputs, generator=generator)
        state[f"{normalization}.bias"] = 0.5 * torch.randn(outputs, generator=generator) + 0.5
        state[f"{normalization}.running_mean"] = 0.2 * torch.randn(outputs, generator=generator)
        state[f"{normalization}.running_var"] = 0.3 + torch.rand(outputs, generator=generator)
        state[f"{normalization}.num_batches_tracked"] = torch.tensor(5)

    convolution("_conv_stem", "_bn0", stem, 3, 3)
    channels, index = stem, 0
    for count, kernel, step, expansion, outputs in stages:
        for _ in range(count):
            block, wide = f"_blocks.{index}", channels * expansion
            if expansion != 1:
                convolution(f"{block}._expand_conv", f"{block}._bn0", wide, channels, 1)
            convolution(f"{block}._depthwise_conv", f"{block}._bn1", wide, 1, kernel)
            convolution(f"{block}._project_conv", f"{block}._bn2", outputs, wide, 1)
            channels, index = outputs, index + 1
    convolution("_conv_head", "_bn1", head, channels, 1)
    state["_fc.weight"] = torch.randn(classes, head, generator=generator) / head ** 0.5
    state["_fc.bias"] = 0.1 * torch.randn(classes, generator=generator)
    return state


def waves(height, width):
    """A picture that needs no file."""
    c, y, x = np.mgrid[0:3, 0:height, 0:width].astype(np.float64)
    return torch.tensor(np.sin(0.11 * x + 0.07 * y + c) + 0.5 * np.cos(0.05 * x * (c + 1) - 0.13 * y), dtype=torch.float32)


def networks(checkpoint):
    os.makedirs(MODELS, exist_ok=True)
    state = small_state(SMALL, 6, 20, 7)
    torch.save(state, os.path.join(MODELS, "small.pth"), _use_new_zipfile_serialization=False)
    image = waves(33, 30)
    expected = {"stages": SMALL, "small": rounded(forward(state, SMALL, image[None])[0].tolist())}
    path = os.path.join(MODELS, "expected.json")
    if checkpoint:
        trained = torch.load(checkpoint, map_location="cpu", weights_only=True)
        expected["lite0"] = rounded(forward(trained, LITE0, waves(224, 224)[None])[0][:40].tolist())
    elif os.path.exists(path):
        with open(path) as file:
            expected["lite0"] = json.load(file)["lite0"]
    with open(path, "w") as file:
        json.dump(expected, file)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        tensors()
        pictures()
        networks(sys.argv[1] if len(sys.argv) > 1 else None)
