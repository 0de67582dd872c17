#!/usr/bin/env python3
"""Times SciPy at what `lacuna-bench algebra` measures, on matrices of the same sizes.

    pip install numpy scipy
    python3 Scripts/peers_algebra.py algebra.json
    swift run -c release --package-path Benchmarks lacuna-bench algebra --algebra-peers algebra.json

SciPy has one thread for all of it. Needs about 4 GB of memory; `--quick` takes a tenth of the triplets, as the benchmark's does.
"""

import argparse
import json
import os
import tempfile
import time

import numpy as np
import scipy
import scipy.io
import scipy.sparse as sp


def measure(name, call, rounds, results):
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    times = sorted(times[1:])
    results.append({"name": name, "threads": 1, "seconds": times[len(times) // 2], "best": times[0]})
    print(f"{name}: {times[len(times) // 2] * 1e3:.2f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    results = []
    generator = np.random.default_rng(1)

    scale = 10 if args.quick else 1
    count, size = 30_000_000 // scale, 10_000_000 // scale
    rows = generator.integers(0, size, count, dtype=np.int32)
    columns = generator.integers(0, size, count, dtype=np.int32)
    values = np.ones(count)

    def triplets():
        matrix = sp.coo_array((values, (rows, columns)), shape=(size, size)).tocsr()
        matrix.sum_duplicates()  # sorts the columns of every row, as Lacuna's are

    measure("30 million triplets into 10 million rows", triplets, 3, results)
    del rows, columns, values

    n = 200_000
    a, b = (sp.random_array((n, n), density=1e-4, format="csr", rng=generator) for _ in range(2))
    for matrix in (a, b):
        matrix.sort_indices()
    x = generator.standard_normal(n)
    half = slice(n // 4, n // 4 * 3)
    measure("sum", lambda: a + b, args.rounds, results)
    measure("entry by entry", lambda: a.multiply(b), args.rounds, results)
    measure("a slice", lambda: a[half, half], args.rounds, results)
    measure("transpose", lambda: a.T.tocsr(), args.rounds, results)
    measure("times a vector", lambda: a @ x, args.rounds, results)
    measure("first product with the transpose", lambda: a.T @ x, args.rounds, results)
    measure("transpose times a vector", lambda: a.T @ x, args.rounds, results)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.mtx")
        scipy.io.mmwrite(path, a)
        measure("reading .mtx", lambda: scipy.io.mmread(path).tocsr(), 3, results)
    with open(args.output, "w") as file:
        json.dump({"version": f"SciPy {scipy.__version__}", "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
