"""Times training steps with PyTorch: the dense networks of `lacuna-bench training`.

    python3 Scripts/peers_training.py [THREADS]

Needs torch. Prints the minimum and the median of each step in milliseconds. Adam is the fused one where PyTorch has it.
"""

import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
torch.set_num_threads(threads)
torch.manual_seed(0)


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.heads = heads

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.n1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(a.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.n2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, vocabulary, context, d, layers, heads):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocabulary, d), nn.Embedding(context, d)
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(d)

    def forward(self, ids):
        x = self.tok(ids) + self.pos.weight
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.tok.weight.T


def measure(name, model, loss, rounds):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - begin))
    times = times[3:]
    print(f"{name}: min {min(times):.2f} ms, median {statistics.median(times):.2f} ms ({threads} threads)")


mlp = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
x, y = torch.randn(64, 784), torch.arange(64) % 10
print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
measure("MLP 784-512-512-10, batch 64", mlp, lambda: F.cross_entropy(mlp(x), y), 300)
gpt = GPT(512, 128, 128, 4, 4)
ids = (torch.arange(1024) * 37 % 512).view(8, 128)
measure("GPT of 4 layers, d 128, 8 x 128 tokens", gpt, lambda: F.cross_entropy(gpt(ids).view(-1, 512), ids.view(-1)), 40)
wide = nn.Sequential(nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10))
measure("MLP 784-2048-2048-10, batch 64", wide, lambda: F.cross_entropy(wide(x), y), 60)
