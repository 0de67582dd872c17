"""Reads the checkpoints in Tests/LacunaIOTests/Fixtures/compressed/by-lacuna/, which Lacuna wrote, with the
`compressed-tensors` package's own reader, and stores the dense values that it finds beside them.

The checkpoints are rewritten by: LACUNA_UPDATE_FIXTURES=1 swift test --filter SparseCheckpointTests
Needs: pip install compressed-tensors==0.11.0 torch transformers
"""

import json
import sys
from pathlib import Path

import torch
from compressed_tensors.compressors import ModelCompressor
from safetensors import safe_open
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent / "Tests/LacunaIOTests/Fixtures/compressed/by-lacuna"


class Holder(torch.nn.Module):
    """A module with one linear layer for every weight."""

    def __init__(self, shapes):
        super().__init__()
        for name, (rows, columns) in shapes.items():
            self.add_module(name, torch.nn.Linear(columns, rows, bias=False))


for directory in sorted(Path(d) for d in sys.argv[1:]) or sorted(p for p in ROOT.iterdir() if p.is_dir()):
    config = json.loads((directory / "config.json").read_text())
    shapes = config["shapes"]
    compressor = ModelCompressor.from_compression_config(config["quantization_config"])
    model = Holder(shapes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    compressor.decompress(str(directory), model)
    found = {f"{name}.weight": module.weight.detach().float().contiguous() for name, module in model.named_children()}
    assert all(torch.isfinite(v).all() for v in found.values()), directory
    assert all(list(found[f"{n}.weight"].shape) == s for n, s in shapes.items()), directory
    save_file(found, directory / "expected.safetensors")
    print(directory.name, {k: tuple(v.shape) for k, v in found.items()})
