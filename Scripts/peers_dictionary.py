#!/usr/bin/env python3
"""Times a training step of a TopK dictionary in PyTorch, dense and gathering: d 512, width 8192, k 32, batch 4096, f32, Adam.

    python3 -m venv venv && venv/bin/pip install torch
    venv/bin/python Scripts/peers_dictionary.py [threads]
"""
import resource
import sys
import time

import torch
import torch.nn.functional as F

if len(sys.argv) > 1:
    torch.set_num_threads(int(sys.argv[1]))
D, WIDTH, K, BATCH = 512, 8192, 32, 4096


class Encode(torch.autograd.Function):
    """The k largest pre-activations; the gradient of the encoder by the rows that were kept."""

    @staticmethod
    def forward(context, x, weight, bias):
        values, places = torch.topk(F.linear(x, weight, bias), K, dim=-1, sorted=False)
        context.save_for_backward(x, weight, places)
        return values.relu(), places

    @staticmethod
    def backward(context, gradient, _):
        x, weight, places = context.saved_tensors
        flat = places.flatten()
        rows = (gradient.unsqueeze(-1) * x.unsqueeze(1)).reshape(-1, D)
        return (
            None,
            torch.zeros_like(weight).index_add_(0, flat, rows),
            torch.zeros(WIDTH).index_add_(0, flat, gradient.flatten()),
        )


def step(kind, p, optimizer, x):
    centered = x - p["b_dec"]
    if kind == "dense":
        pre = F.linear(centered, p["w_enc"], p["b_enc"])
        values, places = torch.topk(pre, K, dim=-1, sorted=False)
        code = torch.zeros_like(pre).scatter_(-1, places, values.relu())
        y = code @ p["w_dec"] + p["b_dec"]
    else:
        values, places = Encode.apply(centered, p["w_enc"], p["b_enc"])
        y = F.embedding_bag(places, p["w_dec"], per_sample_weights=values, mode="sum") + p["b_dec"]
    loss = (y - x).pow(2).sum(-1).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    with torch.no_grad():
        g = p["w_dec"].grad
        g -= (g * p["w_dec"]).sum(-1, keepdim=True) * p["w_dec"]
    torch.nn.utils.clip_grad_norm_(p.values(), 1.0)
    optimizer.step()
    with torch.no_grad():
        p["w_dec"] /= p["w_dec"].norm(dim=-1, keepdim=True)


torch.manual_seed(0)
x = torch.randn(BATCH, D)
for kind in ["gathering", "dense"]:
    w = F.normalize(torch.randn(WIDTH, D), dim=-1)
    p = {"w_enc": w.clone(), "w_dec": w.clone(), "b_enc": torch.zeros(WIDTH), "b_dec": torch.zeros(D)}
    for value in p.values():
        value.requires_grad_()
    optimizer = torch.optim.Adam(p.values(), lr=3e-4)
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        step(kind, p, optimizer, x)
        times.append(time.perf_counter() - begin)
    times = sorted(times[2:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"{kind:10s} step ms: best {times[0] * 1000:.0f} median {times[len(times) // 2] * 1000:.0f}  peak MB so far {peak:.0f}")
with torch.no_grad():
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        F.linear(x, p["w_enc"])
        times.append(time.perf_counter() - begin)
print(f"dense encoder ms: best {min(times) * 1000:.0f}  threads {torch.get_num_threads()}  torch {torch.__version__}")
