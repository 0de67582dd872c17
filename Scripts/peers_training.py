"""Times training steps with PyTorch: the dense networks of `lacuna-bench training`.

    python3 Scripts/peers_training.py [--threads 1,2] [--output training-peers.json]

Needs torch. Prints the minimum and the median of each step; with --output, writes what
`lacuna-bench training --training-peers FILE` sets its own steps against. Adam is the fused one where PyTorch has it.
Run both with nothing beside them, one right after the other.
"""

import argparse
import json
import os
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


def rotated(x):
    """Queries or keys [batch, heads, T, size], rotated by position."""
    t, size = x.shape[-2:]
    angles = torch.arange(t)[:, None] * 10_000.0 ** (-torch.arange(0, size, 2) / size)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], dim=-1)


class Block(nn.Module):
    def __init__(self, d, heads, hidden):
        super().__init__()
        self.n1, self.n2 = nn.RMSNorm(d, eps=1e-5), nn.RMSNorm(d, eps=1e-5)
        self.q, self.k, self.v, self.out = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(d, hidden, bias=False), nn.Linear(d, hidden, bias=False)
        self.down = nn.Linear(hidden, d, bias=False)
        self.heads = heads

    def forward(self, x):
        b, t, d = x.shape
        y = self.n1(x)
        q, k, v = (part(y).view(b, t, self.heads, d // self.heads).transpose(1, 2) for part in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
        x = x + self.out(a.transpose(1, 2).reshape(b, t, d))
        y = self.n2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Transformer(nn.Module):
    def __init__(self, vocabulary, d, layers, heads, hidden):
        super().__init__()
        self.tok = nn.Embedding(vocabulary, d)
        self.blocks = nn.ModuleList(Block(d, heads, hidden) for _ in range(layers))
        self.norm = nn.RMSNorm(d, eps=1e-5)

    def forward(self, ids):
        x = self.tok(ids)
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.tok.weight.T


def mlp(*widths):
    layers = [part for pair in zip(widths, widths[1:]) for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def networks():
    """Name, model, loss and number of steps of each network. The names are those of `lacuna-bench`."""
    x, y = torch.randn(64, 784), torch.arange(64) % 10
    ids = (torch.arange(1024) * 37 % 512).view(8, 128)

    def classify(model):
        return lambda: F.cross_entropy(model(x), y)

    small, wide = mlp(784, 512, 512, 10), mlp(784, 2048, 2048, 10)
    language = Transformer(512, 128, 4, 4, 344)
    yield "MLP 784-512-512-10, batch 64", small, classify(small), 300
    yield (
        "transformer of 4 layers, d 128, 8 x 128 tokens", language,
        lambda: F.cross_entropy(language(ids).view(-1, 512), ids.view(-1)), 60)
    yield "MLP 784-2048-2048-10, batch 64", wide, classify(wide), 100


def measure(model, loss, steps):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()
        times.append(time.perf_counter() - begin)
    return times[3:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    processors = os.cpu_count() or 1
    parser.add_argument("--threads", default=",".join(str(n) for n in sorted({1, processors})))
    parser.add_argument("--output")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    results = []
    for threads in [int(text) for text in arguments.threads.split(",")]:
        torch.set_num_threads(threads)
        for name, model, loss, steps in networks():
            times = measure(model, loss, steps)
            results.append({
                "name": name, "threads": threads, "seconds": statistics.median(times), "best": min(times)})
            print(
                f"{name}, {threads} threads: min {1e3 * min(times):.2f} ms, "
                f"median {1e3 * statistics.median(times):.2f} ms", flush=True)
    if arguments.output:
        version = f"PyTorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"
        with open(arguments.output + ".partial", "w", encoding="utf-8") as file:
            json.dump({"version": version, "results": results}, file, indent=1)
        os.replace(arguments.output + ".partial", arguments.output)


if __name__ == "__main__":
    main()
