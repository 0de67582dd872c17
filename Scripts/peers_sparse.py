#!/usr/bin/env python3
"""Times scipy, torch and GraphBLAS on the matrices of `lacuna bench kernels`, beside Lacuna itself.

    pip install numpy scipy            # and, where wanted: torch, python-graphblas
    python3 Scripts/peers_sparse.py --lacuna .build/release/lacuna [--vectors 128] [--threads 1]

Every package that can be imported is measured; one that cannot is named and left out. MKL has its own way: `lacuna-bench
sparse --mkl PATH` times it in the same process as Lacuna, round by round. The result is a Markdown table on standard
output: milliseconds, and the speed against the fastest dense product of this run.
"""

import argparse
import json
import os
import subprocess
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lacuna", help="the lacuna executable; left out if not given")
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--vectors", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


def median_ms(call, rounds):
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[rounds // 2] * 1e3


def peers(args):
    """Pairs of a name and a function that makes the product with a CSR matrix and dense inputs [columns, vectors]."""
    found = [("scipy CSR", lambda a, x: lambda: a @ x)]
    try:
        import torch

        torch.set_num_threads(args.threads)

        def make(a, x):
            matrix = torch.sparse_csr_tensor(
                torch.from_numpy(a.indptr), torch.from_numpy(a.indices), torch.from_numpy(a.data), size=a.shape)
            vectors = torch.from_numpy(x)
            return lambda: matrix @ vectors

        found.append(("torch CSR", make))
    except ImportError:
        print("torch: not installed, left out")
    try:
        import graphblas as gb

        gb.init()
        gb.ss.config["nthreads"] = args.threads

        def make(a, x):
            matrix, vectors = gb.io.from_scipy_sparse(a), gb.Matrix.from_dense(x)
            return lambda: gb.semiring.plus_times(matrix @ vectors).new()

        found.append(("GraphBLAS", make))
    except ImportError:
        print("python-graphblas: not installed, left out")
    return found


def main():
    args = arguments()
    for name in ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"]:
        os.environ.pop(name, None)
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]:
        os.environ[name] = str(args.threads)
    import numpy as np
    import scipy.sparse as sp

    generator = np.random.default_rng(1)
    weight = generator.standard_normal((args.rows, args.columns), dtype=np.float32)
    x = generator.standard_normal((args.columns, args.vectors), dtype=np.float32)
    dense = median_ms(lambda: weight @ x, args.rounds)
    rows = [("numpy dense", 0.0, dense, 1.0)]
    known = peers(args)
    for sparsity in [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]:
        threshold = np.quantile(np.abs(weight), sparsity)
        matrix = sp.csr_matrix(np.where(np.abs(weight) > threshold, weight, 0))
        expected = matrix @ x
        for name, make in known:
            call = make(matrix, x)
            result = call()
            if hasattr(result, "to_dense") and hasattr(result, "dtype") and not isinstance(result, np.ndarray):
                found = result.numpy() if hasattr(result, "numpy") else result.to_dense()
                assert np.allclose(found, expected, atol=1e-2), name
            ms = median_ms(call, args.rounds)
            rows.append((name, sparsity, ms, dense / ms))
    if args.lacuna:
        output = subprocess.run(
            [args.lacuna, "bench", "kernels", "--json", "--quiet", "--rows", str(args.rows), "--columns", str(args.columns),
             "--vectors", str(args.vectors), "--rounds", str(args.rounds), "--threads", str(args.threads)],
            check=True, capture_output=True, text=True).stdout
        for point in json.loads(output)["points"]:
            rows.append((f"lacuna {point['store']}", point["sparsity"], point["seconds"] * 1e3, dense / (point["seconds"] * 1e3)))
    print(f"{args.rows} x {args.columns}, {args.vectors} vectors, {args.threads} thread(s)\n")
    print("| product | sparsity | ms | × numpy dense |\n| --- | ---: | ---: | ---: |")
    for name, sparsity, ms, speed in sorted(rows, key=lambda row: (row[1], row[2])):
        print(f"| {name} | {sparsity:.2f} | {ms:.3f} | {speed:.2f} |")


if __name__ == "__main__":
    main()
