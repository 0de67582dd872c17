#!/usr/bin/env python3
"""Writes the encoder fixtures of Tests/LacunaModelsTests: a small random BERT with a head for masked tokens, with what
transformers computes from it: hidden states, logits, and the gradients of a masked cross-entropy.

    python3 -m venv venv && venv/bin/pip install torch transformers safetensors
    venv/bin/python Scripts/fixtures_encoder.py Tests/LacunaModelsTests/Fixtures

Weights are drawn from a seed, so a run with the same versions writes the same files.
"""

import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

VOCABULARY, LENGTH = 96, 20


def main(root):
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=32, type_vocab_size=2, attn_implementation="eager")
    model = transformers.BertForMaskedLM(config).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if "LayerNorm.weight" in name else 0.3 * noise)
    # Without the padding token 0, to whose vector transformers lets no gradient pass.
    tokens = torch.randint(1, VOCABULARY, (2, LENGTH), generator=generator)
    segments = (torch.arange(LENGTH) >= 12).long().expand(2, LENGTH)
    # The second text is shorter.
    lengths = [LENGTH, 13]
    mask = torch.arange(LENGTH)[None] < torch.tensor(lengths)[:, None]
    labels = torch.randint(0, VOCABULARY, (2, LENGTH), generator=generator)
    labels[torch.rand(2, LENGTH, generator=generator) < 0.5] = -100
    labels[~mask] = -100
    output = model(tokens, attention_mask=mask.long(), token_type_ids=segments, labels=labels, output_hidden_states=True)
    output.loss.backward()
    result = {
        "tokens": tokens, "segments": segments.contiguous(), "lengths": torch.tensor(lengths), "labels": labels,
        "hidden": output.hidden_states[-1].detach(), "logits": output.logits.detach(),
        "loss": output.loss.detach().reshape(1),
    }
    slopes = {name: parameter.grad.clone().contiguous() for name, parameter in model.named_parameters()}
    folder = root / "bert"
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({name: value.contiguous() for name, value in result.items()}, folder / "expected.safetensors")
    save_file(slopes, folder / "gradients.safetensors")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
