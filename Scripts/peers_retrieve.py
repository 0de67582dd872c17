#!/usr/bin/env python3
"""Approximate search over learned-sparse-like vectors: Lacuna's Seismic beside pyseismic-lsr, on one generated collection,
in one run.

    pip install numpy scipy pyseismic-lsr==0.5.4
    python3 Scripts/peers_retrieve.py PATH_OF_LACUNA DIRECTORY [DOCUMENTS [THREADS]]

Vectors: 120 entries of a vocabulary of 30,522, terms by Zipf's law mixed with 1000 topics, log-normal weights; 500
queries of 39 entries. Recall@10 counts documents whose score reaches the tenth best."""
import json, os, subprocess, sys, time
import numpy as np
import scipy.sparse as sp

lacuna, place = sys.argv[1], sys.argv[2]
count = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
threads = int(sys.argv[4]) if len(sys.argv) > 4 else 1
V, topics = 30522, 1000
os.makedirs(place, exist_ok=True)
rng = np.random.default_rng(1)
topic_terms = rng.integers(0, V, (topics, 400))
zipf = 1 / np.arange(1, V + 1) ** 0.9
zipf /= zipf.sum()
order = rng.permutation(V)


def vectors(n, nnz):
    rows = []
    common = order[rng.choice(V, size=(n, nnz), p=zipf)]
    for i in range(n):
        pair = rng.integers(0, topics, 2)
        special = topic_terms[pair[rng.integers(0, 2, nnz)], (rng.random(nnz) ** 2 * 400).astype(int)]
        terms = np.unique(np.where(rng.random(nnz) < 0.5, common[i], special))
        rows.append((terms, np.round(np.exp(rng.normal(0, 0.6, len(terms))), 3).astype(np.float32)))
    return rows


def write(name, rows):
    with open(f"{place}/{name}", "w") as f:
        for i, (t, w) in enumerate(rows):
            vector = {f"t{a}": float(b) for a, b in zip(t, w)}
            f.write(json.dumps({"id": i, "content": "", "vector": vector}) + "\n")


def csr(rows):
    lengths = [len(t) for t, _ in rows]
    return sp.csr_matrix((np.concatenate([w for _, w in rows]), np.concatenate([t for t, _ in rows]),
                          np.concatenate([[0], np.cumsum(lengths)])), (len(rows), V))


documents, queries = vectors(count, 135), vectors(500, 41)
write("documents.jsonl", documents)
write("queries.jsonl", queries)
D, Q = csr(documents), csr(queries)
scores = [np.sort(np.asarray((D @ Q[i].T).todense()).ravel())[-10:][0] for i in range(len(queries))]
true = [np.asarray((D @ Q[i].T).todense()).ravel() for i in range(len(queries))]
print(f"{count} documents, {D.nnz / count:.1f} entries each; queries of {Q.nnz / len(queries):.1f}; {threads} thread(s)")


def recall(found):
    return np.mean([min(sum(true[i][d] >= scores[i] * (1 - 1e-5) for d in row), 10) / 10 for i, row in enumerate(found)])


def run(arguments):
    start = time.time()
    done = subprocess.run([lacuna] + arguments + ["--threads", str(threads)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.time() - start, done.stdout, done.stderr


index = f"{place}/index"
seconds, out, _ = run(["index", "build", index, f"{place}/documents.jsonl", "--seismic", "--force", "--no-contents",
                       "--n-postings", "2000", "--memory", "8192"])
size = sum(os.path.getsize(os.path.join(index, f)) for f in os.listdir(index))
print(f"lacuna: build {seconds:.1f} s with reading, {size / 1e6:.0f} MB")
for extra in (["--exact"], *(["--query-cut", str(c), "--heap-factor", str(h)] for c, h in
                             ((3, 1.0), (5, 1.0), (5, 0.9), (5, 0.7), (8, 0.9), (8, 0.7), (12, 0.7), (20, 0.6)))):
    _, out, err = run(["search", index, "--vectors", f"{place}/queries.jsonl", "--output", "-", "--trust"] + extra)
    found = [[] for _ in queries]
    for line in out.splitlines():
        q, _, d, _, _, _ = line.split()
        found[int(q)].append(int(d))
    print(f"  {' '.join(extra):40} recall {recall(found):.3f}   {err.strip()}")

import seismic
start = time.time()
peer = seismic.SeismicIndex.build(f"{place}/documents.jsonl", n_postings=2000, num_threads=threads)
print(f"pyseismic-lsr: build {time.time() - start:.1f} s with reading")
peer.save(f"{place}/peer")
files = [f for f in os.listdir(place) if f.startswith("peer")]
print(f"  {sum(os.path.getsize(os.path.join(place, f)) for f in files) / 1e6:.0f} MB")
ids = np.array([str(i) for i in range(len(queries))], dtype="U30")
components = [np.array([f"t{a}" for a in t], dtype="U30") for t, _ in queries]
values = [w for _, w in queries]
for cut, factor in ((3, 1.0), (5, 1.0), (5, 0.9), (5, 0.7), (8, 0.9), (8, 0.7), (12, 0.7), (20, 0.6)):
    best = 1e9
    for _ in range(3):
        start = time.time()
        results = peer.batch_search(ids, components, values, k=10, query_cut=cut, heap_factor=factor, num_threads=threads)
        best = min(best, time.time() - start)
    found = [[] for _ in queries]
    for row in results:
        for q, _, d in row:
            found[int(q)].append(int(d))
    print(f"  query cut {cut}, factor {factor:<16} recall {recall(found):.3f}   {len(queries) / best:.0f} queries a second")
