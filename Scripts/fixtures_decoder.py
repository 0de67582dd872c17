#!/usr/bin/env python3
"""Writes the fixtures of Tests/LacunaModelsTests: small random decoders in the files of Hugging Face transformers (and
one GGUF file), each with the logits that transformers computes from them, and the gradients of the mean cross-entropy of
every next token with respect to every weight.

    python3 -m venv venv && venv/bin/pip install torch transformers safetensors gguf numpy
    venv/bin/python Scripts/fixtures_decoder.py Tests/LacunaModelsTests/Fixtures

Weights are drawn from the given seed, so a run with the same versions writes the same files.
"""

import json
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

VOCABULARY = 96
LENGTH = 24
COMMON = dict(
    vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
    attn_implementation="eager",
)
LLAMA3_ROPE = dict(
    rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=16,
)


def randomise(model, seed, dtype):
    """Weights large enough that logits differ clearly and every term matters, rounded to the type of the file, so that
    the logits belong to the numbers in it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_((1 + 0.2 * noise if "norm" in name else 0.3 * noise).to(dtype))


def expected(model, seed):
    tokens = torch.randint(0, VOCABULARY, (1, LENGTH), generator=torch.Generator().manual_seed(seed + 1000))
    with torch.no_grad():
        logits = model(tokens).logits[0]
    return {"tokens": tokens[0].to(torch.int64), "logits": logits.float().contiguous()}


def gradients(model, seed):
    tokens = expected(model, seed)["tokens"]
    model.zero_grad()
    logits = model(tokens[None]).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[:-1], tokens[1:])
    loss.backward()
    result = {name: parameter.grad.float().clone().contiguous() for name, parameter in model.named_parameters()}
    return {"loss": loss.detach().float().reshape(1), **result}


def write_model(folder, config, model_class, seed, dtype=torch.float32, shard=None):
    model = model_class(config).eval()
    randomise(model, seed, dtype)
    result = expected(model, seed)
    slopes = gradients(model, seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard or "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file(result, folder / "expected.safetensors")
    save_file(slopes, folder / "gradients.safetensors")
    return model


def rotate_rows(weight, heads):
    """The order of query and key rows in GGUF files of llama models: pairs of a head next to each other."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path, model, config):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(LLAMA3_ROPE["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    half = config.head_dim // 2
    frequencies = LLAMA3_ROPE["rope_theta"] ** (-np.arange(half) / half)
    stretched = model.model.rotary_emb.inv_freq.numpy()
    writer.add_tensor("rope_freqs.weight", (frequencies / stretched).astype(np.float32))
    names = {
        "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }
    for layer in range(config.num_hidden_layers):
        for source, target in parts.items():
            names[f"model.layers.{layer}.{source}.weight"] = f"blk.{layer}.{target}.weight"
    for name, parameter in model.state_dict().items():
        array = parameter.numpy()
        if name.endswith("q_proj.weight"):
            array = rotate_rows(array, config.num_attention_heads)
        if name.endswith("k_proj.weight"):
            array = rotate_rows(array, config.num_key_value_heads)
        writer.add_tensor(names[name], np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(root):
    t = transformers
    write_model(
        root / "llama-tied", t.LlamaConfig(**COMMON, tie_word_embeddings=True), t.LlamaForCausalLM, seed=1)
    # A head size that is not hidden size / heads, and stretched frequencies.
    config = t.LlamaConfig(**COMMON, head_dim=16, tie_word_embeddings=False, rope_parameters=LLAMA3_ROPE)
    model = write_model(root / "llama3", config, t.LlamaForCausalLM, seed=2)
    write_gguf(root / "llama3.gguf", model, config)
    write_model(
        root / "qwen2", t.Qwen2Config(**COMMON, tie_word_embeddings=True, use_sliding_window=False),
        t.Qwen2ForCausalLM, seed=3, dtype=torch.bfloat16)
    write_model(
        root / "mistral", t.MistralConfig(**COMMON, head_dim=8, sliding_window=7, tie_word_embeddings=False),
        t.MistralForCausalLM, seed=4, shard="40KB")
    # A layer without rotation.
    write_model(
        root / "smollm3", t.SmolLM3Config(
            **COMMON, no_rope_layers=[1, 0], use_sliding_window=False, tie_word_embeddings=True, pad_token_id=0),
        t.SmolLM3ForCausalLM, seed=8)
    # Norms of queries and keys, a head size of its own.
    write_model(
        root / "qwen3", t.Qwen3Config(**COMMON, head_dim=16, tie_word_embeddings=False), t.Qwen3ForCausalLM, seed=5)
    # Norms on both sides of a part, local and global layers with rotations of their own, scaled embeddings.
    gemma = {**COMMON, "num_hidden_layers": 3}
    write_model(
        root / "gemma3",
        t.Gemma3TextConfig(
            **gemma, head_dim=8, sliding_window=5, query_pre_attn_scalar=12,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 50_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1_000.0},
            }),
        t.Gemma3ForCausalLM, seed=6)
    versions = {m.__name__: m.__version__ for m in (torch, transformers, np)}
    (root / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
