#!/usr/bin/env python3
"""The Python package beside scipy, scikit-learn, celer and skglm, in one run: medians of wall times, turn by turn.

    pip install Python/dist/lacuna-*.whl scipy scikit-learn celer skglm
    Scripts/python-speed.py [--seconds 2] [--threads N]

celer and skglm take part where they are installed. What is compared first has to agree.
"""

import argparse
import os
import statistics
import time
import warnings

import numpy as np
import scipy.sparse as sp

import lacuna

parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=float, default=2, help="for every line; at least 5 turns, of paths 3")
parser.add_argument("--threads", type=int, default=None)
options = parser.parse_args()
if options.threads:
    lacuna.set_threads(options.threads)
warnings.filterwarnings("ignore")


def turns(competitors, least=5):
    """Median seconds of each, all of them in every turn."""
    for work in competitors.values():
        work()
    times, begin = {name: [] for name in competitors}, time.perf_counter()
    while time.perf_counter() - begin < options.seconds or len(next(iter(times.values()))) < least:
        for name, work in competitors.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(own) for name, own in times.items()}


def line(title, medians):
    ours = next(iter(medians.values()))
    print(f"| {title} | " + ", ".join(
        f"{name} {value * 1000:.3g} ms" + ("" if value is ours else f" ({value / ours:.2f}×)")
        for name, value in medians.items()) + " |", flush=True)


processor = next((text.split(":")[1].strip() for text in open("/proc/cpuinfo") if text.startswith("model name")), "unknown")
print(f"{processor}, {os.cpu_count()} processors, Lacuna on {lacuna.threads()} threads, numpy {np.__version__}, "
      f"scipy {__import__('scipy').__version__}")

print("\n| product | medians (how many times Lacuna's) |\n|---|---|")
generator = np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    for rows, density in ((20_000, 0.002), (4_000, 0.05)):
        a = sp.random(rows, rows, density=density, format="csr", random_state=generator, dtype=np.float64).astype(dtype)
        held = lacuna.SparseMatrix(a)
        name = f"{np.dtype(dtype).name}, {rows} × {rows}, {a.nnz / rows:.0f} a row"
        for width in (1, 16, 128):
            b = generator.normal(size=(rows,) if width == 1 else (rows, width)).astype(dtype)
            np.testing.assert_allclose(lacuna.matmul(a, b), a @ b, rtol=1e-3, atol=1e-3)
            line(f"{name}, {'vector' if width == 1 else f'{width} columns'}",
                 turns({"matmul": lambda: lacuna.matmul(a, b), "SparseMatrix": lambda: held @ b, "scipy": lambda: a @ b}))
    a = sp.random(20_000, 20_000, density=5e-4, format="csr", random_state=generator, dtype=np.float64).astype(dtype)
    product = a @ a
    assert abs(lacuna.spgemm(a, a) - product).max() < 1e-3
    line(f"{np.dtype(dtype).name}, 20000 × 20000, 10 a row, times itself",
         turns({"spgemm": lambda: lacuna.spgemm(a, a), "scipy": lambda: a @ a}))

print("\n| 100 strengths to λ_max/100 | medians (how many times Lacuna's), largest difference of an objective |\n|---|---|")
from sklearn.linear_model import lasso_path  # noqa: E402


def problem(rows, columns, density=None):
    truth = np.zeros(columns)
    truth[generator.choice(columns, 20, replace=False)] = generator.normal(size=20)
    if density is None:
        # Neighbouring columns are alike, as in most tables.
        noise = generator.normal(size=(rows, columns))
        x = np.empty_like(noise, order="F")
        x[:, 0] = noise[:, 0]
        for j in range(1, columns):
            x[:, j] = 0.6 * x[:, j - 1] + 0.8 * noise[:, j]
        x -= x.mean(0)
    else:
        x = sp.random(rows, columns, density=density, format="csc", random_state=generator)
    y = x @ truth
    y = y + y.std() * generator.normal(size=rows)
    return x, y - y.mean()


for rows, columns, density in ((500, 5000, None), (5000, 500, None), (10_000, 20_000, 0.001)):
    x, y = problem(rows, columns, density)
    alphas = np.abs(x.T @ y).max() / rows * np.logspace(0, -2, 100)
    found = {}
    competitors = {
        "Lacuna": lambda: found.__setitem__("Lacuna", lacuna.regularization_path(
            x, y, alphas=alphas, fit_intercept=False, tol=1e-6).coefs.T),
        "scikit-learn": lambda: found.__setitem__("scikit-learn", lasso_path(x, y, alphas=alphas, tol=1e-6, max_iter=100_000)[1]),
    }
    try:
        from celer import celer_path

        competitors["celer"] = lambda: found.__setitem__("celer", celer_path(
            x, y, "lasso", alphas=alphas, tol=1e-6, max_iter=100)[1])
    except ImportError:
        pass
    try:
        from skglm.datafits import Quadratic
        from skglm.penalties import L1
        from skglm.solvers import AndersonCD

        def skglm_path():
            path = AndersonCD(tol=1e-6, fit_intercept=False).path(x, y, Quadratic(), L1(1.0), alphas=alphas)
            found["skglm"] = path[1]

        competitors["skglm"] = skglm_path
    except ImportError:
        pass
    medians = turns(competitors, least=3)

    def objectives(coefs):
        residuals = y[:, None] - x @ np.asarray(coefs)
        return (residuals ** 2).sum(0) / (2 * rows) + alphas * np.abs(coefs).sum(0)

    best = np.min([objectives(coefs) for coefs in found.values()], axis=0)
    scale = (y @ y) / (2 * rows)
    excess = ", ".join(f"{name} {((objectives(coefs) - best) / scale).max():.1e}" for name, coefs in found.items())
    line(f"{rows} × {columns}" + ("" if density is None else f", {density:.1%} stored"), medians)
    print(f"| | above the best, of the null loss: {excess} |")
