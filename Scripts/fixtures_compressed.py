"""Writes Tests/LacunaIOTests/Fixtures/compressed/by-package/: small weights compressed by the `compressed-tensors` package,
and the dense values that it gets back from them.

Needs: pip install compressed-tensors==0.11.0 torch transformers (0.12.2 is the last version with sparse compressors)
"""

from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.quantized_compressors.pack_quantized import unpack_from_int32
from compressed_tensors.config import BitmaskConfig, Sparse24BitMaskConfig
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from safetensors.torch import save_file

OUT = Path(__file__).parent.parent / "Tests/LacunaIOTests/Fixtures/compressed/by-package"
OUT.mkdir(parents=True, exist_ok=True)
torch.manual_seed(3)


def sparse(rows, columns, dtype, keep=0.4):
    return (torch.randn(rows, columns) * (torch.rand(rows, columns) < keep)).to(dtype)


def two_of_four(rows, columns, dtype):
    weight = torch.randn(rows, columns).view(-1, 4)
    weight.scatter_(1, weight.abs().topk(2, dim=1, largest=False).indices, 0)
    return weight.view(rows, columns).to(dtype)


def save(name, compressor, state, scales=None):
    compressed = compressor.compress(state)
    compressed.update({f"{k}_scale": v for k, v in (scales or {}).items()})
    save_file({k: v.contiguous() for k, v in compressed.items()}, OUT / f"{name}.safetensors")
    dense = dict(compressor.decompress(str(OUT / f"{name}.safetensors")))
    expected = {k: dense[k].float() for k in state}
    for key, scale in (scales or {}).items():
        expected[key] = expected[key] * scale
    for key, weight in state.items():
        if scales is None:
            assert torch.equal(weight.float(), expected[key])
    save_file({k: v.contiguous() for k, v in expected.items()}, OUT / f"{name}.expected.safetensors")


bitmask = BaseCompressor.load_from_registry("sparse-bitmask", config=BitmaskConfig(format="sparse-bitmask"))
state = {
    "a.weight": sparse(6, 24, torch.float32), "b.weight": sparse(5, 70, torch.bfloat16),
    "c.d.weight": sparse(3, 9, torch.float16), "empty.weight": torch.zeros(4, 16),
}
state["b.weight"][2] = 0
save("bitmask", bitmask, state)

twofour = BaseCompressor.load_from_registry(
    "sparse-24-bitmask", config=Sparse24BitMaskConfig(format="sparse-24-bitmask", sparsity_structure="2:4")
)
save("twofour", twofour, {
    "a.weight": two_of_four(6, 24, torch.float32), "b.weight": two_of_four(5, 72, torch.bfloat16),
})

# Channel-wise int8 with scales as Lacuna and most other programs choose them, then made sparse.
dense = sparse(6, 40, torch.float32)
scale = dense.abs().amax(dim=1, keepdim=True) / 127
save("bitmask-int8", bitmask, {"a.weight": (dense / scale).round().to(torch.int8)}, {"a.weight": scale})

# Group-wise int4, packed. Scales are multiples of 1/64, so that products are exact.
args = QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="group", group_size=64)
weight = torch.randn(5, 192)
groups = weight.view(5, 3, 64)
scale = (groups.abs().amax(dim=2) / 7).to(torch.bfloat16)
config = QuantizationConfig(config_groups={"g": QuantizationScheme(targets=["a"], weights=args)}, format="pack-quantized")
packer = BaseCompressor.load_from_registry("pack-quantized", config=config)
packed = packer.compress_weight(weight, scale.float(), args)
save_file(
    {f"a.{k}": v.contiguous() for k, v in packed.items()} | {"a.weight_scale": scale}, OUT / "packed-int4.safetensors"
)
dense = packer.decompress_weight(packed | {"weight_scale": scale.float()}, args)
save_file({"a.weight": dense.float().contiguous()}, OUT / "packed-int4.expected.safetensors")

# As GPTQ and AWQ leave weights: groups of 32 or 128 with f16 scales, zero points, columns in an order of their own.
for name, columns, size, symmetric, reordered in [
    ("symmetric", 256, 128, True, False), ("zeros", 128, 32, False, False), ("channel", 64, None, True, False),
    ("reordered", 96, 32, False, True),
]:
    args = QuantizationArgs(
        num_bits=4, type="int", symmetric=symmetric, strategy="group" if size else "channel", group_size=size,
        actorder="group" if reordered else None,
    )
    rows, groups = 10, columns // size if size else 1
    weight = torch.randn(rows, columns)
    index = torch.randperm(columns) // size if reordered else torch.arange(columns) * groups // columns
    low = torch.stack([weight[:, index == g].amin(1) for g in range(groups)], 1).clamp(max=0)
    high = torch.stack([weight[:, index == g].amax(1) for g in range(groups)], 1).clamp(min=0)
    scale = (torch.maximum(-low, high) / 7.5 if symmetric else (high - low) / 15).to(torch.float16).float()
    zero = torch.zeros_like(scale) if symmetric else (-8 - low / scale).round().clamp(-8, 7)
    zero = zero.to(torch.int8)
    packed = packer.compress_weight(
        weight, scale, args, zero_point=None if symmetric else zero, g_idx=index.int() if reordered else None
    )
    if not symmetric and "weight_zero_point" not in packed:
        packed["weight_zero_point"] = zero
    if reordered:
        packed["weight_g_idx"] = index.int()
    tensors = {f"a.{k}": v.contiguous() for k, v in packed.items()}
    tensors["a.weight_scale"] = scale.to(torch.float16)
    save_file(tensors, OUT / f"w4a16-{name}.safetensors")
    zeros = packed.get("weight_zero_point")
    if zeros is not None and zeros.dtype == torch.int32:
        zeros = unpack_from_int32(zeros, 4, torch.Size([rows, groups]), packed_dim=0)
    codes = unpack_from_int32(packed["weight_packed"], 4, torch.Size([rows, columns]))
    dense = dequantize(codes, scale, zeros, args=args, g_idx=index.int() if reordered else None)
    save_file({"a.weight": dense.float().contiguous()}, OUT / f"w4a16-{name}.expected.safetensors")
