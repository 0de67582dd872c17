"""Writes Tests/LacunaModelsTests/Fixtures/gemma3-gguf: one small random Gemma 3 as a directory of Hugging Face and as a GGUF
file, whose names are those that the `gguf` package gives the tensors and whose metadata are those that llama.cpp reads.

    python3 Scripts/fixtures_gemma_gguf.py Tests/LacunaModelsTests/Fixtures

Needs: pip install gguf safetensors numpy (made with gguf 0.19, safetensors 0.8). Seven layers, of which by llama.cpp's rule
the sixth sees everything; GGUF files have no place for the pattern.
"""

import json
import pathlib
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

LAYERS, WIDTH, INNER, HEADS, SHARED, SIZE, WORDS, WINDOW = 7, 16, 24, 2, 1, 8, 40, 5
root = pathlib.Path(sys.argv[1]) / "gemma3-gguf"
root.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(3)

shapes = {"model.embed_tokens": (WORDS, WIDTH), "model.norm": (WIDTH,)}
for layer in range(LAYERS):
    at = f"model.layers.{layer}."
    for name, shape in {
        "self_attn.q_proj": (HEADS * SIZE, WIDTH), "self_attn.k_proj": (SHARED * SIZE, WIDTH),
        "self_attn.v_proj": (SHARED * SIZE, WIDTH), "self_attn.o_proj": (WIDTH, HEADS * SIZE),
        "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH), "mlp.down_proj": (WIDTH, INNER),
        "self_attn.q_norm": (SIZE,), "self_attn.k_norm": (SIZE,), "input_layernorm": (WIDTH,),
        "post_attention_layernorm": (WIDTH,), "pre_feedforward_layernorm": (WIDTH,), "post_feedforward_layernorm": (WIDTH,),
    }.items():
        shapes[at + name] = shape
weights = {
    f"{name}.weight": (rng.standard_normal(shape) * (0.3 if len(shape) == 1 else 1 / np.sqrt(shape[-1]))).astype(np.float32)
    for name, shape in shapes.items()
}
save_file(weights, root / "model.safetensors", metadata={"format": "pt"})
kinds = ["full_attention" if layer % 6 == 5 else "sliding_attention" for layer in range(LAYERS)]
(root / "config.json").write_text(json.dumps({
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "vocab_size": WORDS, "hidden_size": WIDTH,
    "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": SHARED,
    "head_dim": SIZE, "query_pre_attn_scalar": SIZE, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "sliding_window": WINDOW, "layer_types": kinds, "hidden_activation": "gelu_pytorch_tanh", "bos_token_id": 1,
    "eos_token_id": 2, "tie_word_embeddings": True, "attention_bias": False,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 50000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    },
}, indent=1) + "\n")

writer = gguf.GGUFWriter(root / "model.gguf", "gemma3")
writer.add_context_length(64)
writer.add_embedding_length(WIDTH)
writer.add_block_count(LAYERS)
writer.add_feed_forward_length(INNER)
writer.add_head_count(HEADS)
writer.add_head_count_kv(SHARED)
writer.add_key_length(SIZE)
writer.add_value_length(SIZE)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_freq_base(50000.0)
writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
writer.add_rope_scaling_factor(2.0)
writer.add_sliding_window(WINDOW)
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, LAYERS)
for name, values in weights.items():
    # As llama.cpp's converter does: norms become what is multiplied by.
    writer.add_tensor(names.get_name(name, (".weight",)), values + 1 if "norm" in name else values)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
