#!/usr/bin/env python3
"""Writes a GGUF file again with every matrix widened to F32 or rounded to BF16 or Q8_0; all else stays as it is.

    peers_convert.py IN.gguf OUT.gguf --type f32|bf16|q8_0
"""

import argparse
import os

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32, "bf16": gguf.LlamaFileType.MOSTLY_BF16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
TENSOR_TYPES = {
    "f32": gguf.GGMLQuantizationType.F32, "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
# The writer adds these itself.
OWN_FIELDS = {"general.architecture", "general.file_type", "general.quantization_version"}


def convert(source: str, target: str, kind: str) -> None:
    reader = gguf.GGUFReader(source)
    partial = target + ".partial"
    writer = gguf.GGUFWriter(partial, reader.get_field("general.architecture").contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in OWN_FIELDS:
            continue
        item_type = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=item_type)
    writer.add_file_type(FILE_TYPES[kind])

    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        # Vectors (the norms) stay F32, as llama.cpp's own converter keeps them.
        wanted = TENSOR_TYPES[kind] if len(tensor.shape) > 1 else gguf.GGMLQuantizationType.F32
        if wanted == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, quantize(values, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--type", choices=sorted(TENSOR_TYPES), required=True)
    arguments = parser.parse_args()
    convert(arguments.source, arguments.target, arguments.type)
