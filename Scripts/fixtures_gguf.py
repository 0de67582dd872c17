"""Writes Tests/LacunaIOTests/Fixtures/gguf/: a small GGUF file with every tensor type that Lacuna reads, made by the
`gguf` package, the values which that package dequantises them to, and numbers as it rounds them.

Needs: pip install gguf safetensors numpy (made with gguf 0.19, safetensors 0.8)
"""

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from safetensors.numpy import save_file

OUT = Path(__file__).parent.parent / "Tests/LacunaIOTests/Fixtures/gguf"
OUT.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(7)

writer = gguf.GGUFWriter(OUT / "types.gguf", "llama")
writer.add_uint8("test.u8", 200)
writer.add_int8("test.i8", -100)
writer.add_uint16("test.u16", 60000)
writer.add_int16("test.i16", -30000)
writer.add_uint32("test.u32", 4_000_000_000)
writer.add_int32("test.i32", -2_000_000_000)
writer.add_uint64("test.u64", 2**64 - 1)
writer.add_int64("test.i64", -(2**63))
writer.add_float32("test.f32", 0.5)
writer.add_float64("test.f64", 0.1)
writer.add_bool("test.bool", True)
writer.add_string("test.string", "Grüße, 世界 🌍")
writer.add_array("test.strings", ["a", "", "ö"])
writer.add_array("test.integers", [1, -2, 3])
writer.add_array("test.numbers", [0.25, -1.5])

expected = {}


def half(*shape):
    return np.frombuffer((rng.standard_normal(shape) * 0.01).astype(np.float16).tobytes(), np.uint8).reshape(*shape, 2)


def put(raw, positions):
    """Overwrites the scales inside random blocks by finite half-precision numbers."""
    for position in positions:
        raw[..., position : position + 2] = half(*raw.shape[:-1])


rows, columns = 3, 512
scales = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.Q2_K: [80, 82], T.Q3_K: [108],
}
for kind, positions in scales.items():
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (rows, columns // elements, size), dtype=np.uint8)
    put(raw, positions)
    raw = raw.reshape(rows, -1)
    writer.add_tensor(f"blocks.{kind.name}", raw, raw_dtype=kind)
    expected[f"blocks.{kind.name}"] = gguf.quants.dequantize(raw, kind).astype(np.float32)

plain = rng.standard_normal((rows, 7)).astype(np.float32)
plain[0, 0], plain[1, 1], plain[2, 2] = 0, -0.0, 3e-6
for kind in (T.F32, T.F16, T.BF16):
    raw = plain if kind == T.F32 else gguf.quants.quantize(plain, kind)
    writer.add_tensor(f"plain.{kind.name}", raw, raw_dtype=None if kind == T.F32 else kind)
    expected[f"plain.{kind.name}"] = gguf.quants.dequantize(raw, kind).astype(np.float32)

writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
save_file(expected, OUT / "types.expected.safetensors")

# Numbers, among them zeros and extremes, and what the package rounds them to.
numbers = (rng.standard_normal((4, 256)) * np.exp(rng.standard_normal((4, 256)))).astype(np.float32)
numbers[0, :32], numbers[1, 5], numbers[2, 40], numbers[3, 64:96] = 0, 50, -50, np.float32(0.125)
writer = gguf.GGUFWriter(OUT / "rounded.gguf", "llama")
writer.add_tensor("numbers", numbers)
for kind in (T.Q8_0, T.Q4_0, T.F16, T.BF16):
    writer.add_tensor(f"rounded.{kind.name}", gguf.quants.quantize(numbers, kind), raw_dtype=kind)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
