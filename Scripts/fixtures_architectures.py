#!/usr/bin/env python3
"""Writes the GPT-2, ViT and DeiT fixtures of Tests/LacunaModelsTests: small random models with what transformers computes
from them: logits, and the gradients of a cross-entropy.

    python3 -m venv venv && venv/bin/pip install torch transformers safetensors
    venv/bin/python Scripts/fixtures_architectures.py Tests/LacunaModelsTests/Fixtures

Weights are drawn from a seed, so a run with the same versions writes the same files. Gradients have the names of the files,
but for GPT-2, whose matrices the files keep transposed and three of them as one: theirs are those of single, upright ones.
"""

import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file


def randomize(model, generator):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_gain = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if is_gain else 0.3 * noise)


def save(folder, model, expected, gradients):
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({k: v.detach().contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    save_file({k: v.detach().contiguous() for k, v in gradients.items()}, folder / "gradients.safetensors")


def gpt2(root, generator):
    config = transformers.GPT2Config(
        n_embd=24, n_layer=2, n_head=3, vocab_size=60, n_positions=20, n_inner=40, bos_token_id=1, eos_token_id=2,
        attn_implementation="eager", resid_pdrop=0, attn_pdrop=0, embd_pdrop=0)
    model = transformers.GPT2LMHeadModel(config).eval()
    randomize(model, generator)
    tokens = torch.randint(0, 60, (2, 14), generator=generator)
    output = model(tokens, labels=tokens)
    output.loss.backward()
    slopes = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if ".c_attn." in name:
            kind = name.rsplit(".", 1)[1]
            for part, piece in zip("qkv", gradient.chunk(3, dim=-1)):
                slopes[name.replace(f"c_attn.{kind}", f"{part}_proj.{kind}")] = piece.T if piece.dim() == 2 else piece
        elif name.endswith("weight") and (".c_proj." in name or ".c_fc." in name):
            slopes[name] = gradient.T
        else:
            slopes[name] = gradient
    save(root / "gpt2", model, {"tokens": tokens, "logits": output.logits, "loss": output.loss.reshape(1)}, slopes)


def vision(root, name, config, kind, generator):
    model = kind(config).eval()
    randomize(model, generator)
    pixels = torch.randn(3, config.num_channels, config.image_size, config.image_size, generator=generator)
    labels = torch.tensor([0, 2, 1])
    logits = model(pixels).logits
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    folder = root / name
    slopes = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    save(folder, model, {"pixels": pixels, "labels": labels, "logits": logits, "loss": loss.reshape(1)}, {})
    # By the names of the file, which are older than those of the class; parameters of both come in the same order.
    stored, own = load_file(folder / "model.safetensors"), dict(model.named_parameters())
    names = {}
    for own_name, parameter in own.items():
        names[own_name] = next(n for n, v in stored.items() if v.shape == parameter.shape and torch.equal(v, parameter))
    assert len(set(names.values())) == len(own) == len(stored)
    save_file({names[n]: g.contiguous() for n, g in slopes.items()}, folder / "gradients.safetensors")


def main(root):
    generator = torch.Generator().manual_seed(21)
    gpt2(root, generator)
    sizes = dict(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, image_size=12, patch_size=4,
        num_channels=3, num_labels=4, attn_implementation="eager")
    vision(root, "vit", transformers.ViTConfig(**sizes), transformers.ViTForImageClassification, generator)
    vision(
        root, "deit", transformers.DeiTConfig(**sizes), transformers.DeiTForImageClassificationWithTeacher, generator)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
