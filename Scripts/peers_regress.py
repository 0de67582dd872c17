"""Times the lasso and L1 logistic regression of scikit-learn, celer, skglm, adelie and glmnet on the problems of `lacuna-bench regress`.

    peers_regress.py FOLDER [--only sklearn,glmnet] [--cases dense,sparse,labels,golub,grants] [--repeats 5]

Writes the problems into FOLDER on the first run (raw little-endian numbers and a JSON description), and adds the times to
FOLDER/peers.json. One thread. Every solver runs at the loosest of its tolerances that reaches a duality gap of 1e-6 of
the loss of the predictor 0 (for every strength of a path); that is found first and not timed. Compilation is excluded.

Cases dense and sparse are lassos. Case labels is logistic: the columns of dense and the signs of its target. Two cases
are logistic on real data, every column scaled to mean 0 and deviation 1, and left out where the data are missing: golub, 3051 gene
expressions of 38 leukaemia patients (T. Golub et al., Science 1999; Debian package r-bioc-multtest, LGPL, or --golub names its
golub.RData), and grants, whether 8190 applications at the University of Melbourne succeeded, by 1497 counts and values of those
who applied (M. Kuhn, K. Johnson, Applied Predictive Modeling, 2013; r-cran-modeldata, MIT, or --grants names its Rdata.rdb).

Needs: pip install numpy scipy scikit-learn celer skglm adelie; R with glmnet (Debian: r-cran-glmnet) for glmnet and golub.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import json
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from scipy import sparse

warnings.filterwarnings("ignore")
GAP = 1e-6


def make(folder):
    rng = np.random.default_rng(0)
    n, p = 1000, 5000
    x = rng.standard_normal((n, p))
    for j in range(1, p):
        x[:, j] = 0.5 * x[:, j - 1] + np.sqrt(0.75) * x[:, j]
    beta = np.zeros(p)
    beta[rng.choice(p, 100, replace=False)] = rng.choice([-1.0, 1.0], 100)
    eta = x @ beta
    y = eta + rng.standard_normal(n) * np.linalg.norm(eta) / np.sqrt(n) / 3
    np.asfortranarray(x).ravel(order="F").tofile(folder / "dense.x")
    y.tofile(folder / "dense.y")
    n, p = 20000, 50000
    s = sparse.random(n, p, density=1e-3, format="csc", random_state=1, data_rvs=rng.standard_normal)
    beta = np.zeros(p)
    beta[rng.choice(p, 100, replace=False)] = rng.standard_normal(100)
    eta = s @ beta
    y = eta + rng.standard_normal(n) * np.linalg.norm(eta) / np.sqrt(n) / 6
    s.indptr.astype(np.int64).tofile(folder / "sparse.start")
    s.indices.astype(np.uint32).tofile(folder / "sparse.index")
    s.data.tofile(folder / "sparse.values")
    y.tofile(folder / "sparse.y")
    (folder / "problems.json").write_text(json.dumps({
        "dense": {"rows": 1000, "columns": 5000}, "sparse": {"rows": n, "columns": p}}))


# Case -> R code that writes the table of the file args[1], by columns, and its labels, 0 or 1.
TABLES = {
    "golub": """
args <- commandArgs(TRUE); load(args[1])
writeBin(as.vector(t(golub)), args[2]); writeBin(as.double(golub.cl), args[3])
""",
    "grants": """
args <- commandArgs(TRUE); lazyLoad(sub("[.]rdb$", "", args[1]))
x <- as.matrix(grants_other[, sapply(grants_other, is.numeric)]); storage.mode(x) <- "double"
writeBin(as.vector(x), args[2]); writeBin(as.double(grants_other$class == "successful"), args[3])
""",
}


def make_table(folder, kind, path):
    """Every column that varies, with mean 0 and deviation 1. Returns the shape, or None if the data were not there."""
    if not Path(path).exists() or not shutil.which("Rscript"):
        return None
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "table.R"
        script.write_text(TABLES[kind])
        subprocess.run(["Rscript", script, path, f"{scratch}/x", f"{scratch}/y"], check=True, stdout=subprocess.DEVNULL)
        y = np.fromfile(f"{scratch}/y")
        x = np.fromfile(f"{scratch}/x").reshape((len(y), -1), order="F")
    x = x[:, x.std(0) > 0]
    x = (x - x.mean(0)) / x.std(0)
    np.asfortranarray(x).ravel(order="F").tofile(folder / f"{kind}.x")
    (2 * y - 1).tofile(folder / f"{kind}.y")
    return {"rows": x.shape[0], "columns": x.shape[1]}


def complete(folder, paths):
    """Adds the logistic problems to a folder that has the others."""
    shapes = json.loads((folder / "problems.json").read_text())
    if "labels" not in shapes:
        y = np.fromfile(folder / "dense.y")
        np.where(y > 0, 1.0, -1.0).tofile(folder / "labels.y")
        shapes["labels"] = shapes["dense"]
    for kind, path in paths.items():
        shape = None if kind in shapes else make_table(folder, kind, path)
        if shape:
            shapes[kind] = shape
    (folder / "problems.json").write_text(json.dumps(shapes))


def load(folder):
    shapes = json.loads((folder / "problems.json").read_text())
    d, s = shapes["dense"], shapes["sparse"]
    dense = np.fromfile(folder / "dense.x").reshape((d["rows"], d["columns"]), order="F")
    start = np.fromfile(folder / "sparse.start", dtype=np.int64).astype(np.int32)
    index = np.fromfile(folder / "sparse.index", dtype=np.uint32).astype(np.int32)
    csc = sparse.csc_matrix((np.fromfile(folder / "sparse.values"), index, start), shape=(s["rows"], s["columns"]))
    cases = {"dense": (dense, np.fromfile(folder / "dense.y")), "sparse": (csc, np.fromfile(folder / "sparse.y")),
             "labels": (dense, np.fromfile(folder / "labels.y"))}
    for kind in TABLES.keys() & shapes.keys():
        g = shapes[kind]
        cases[kind] = (np.fromfile(folder / f"{kind}.x").reshape((g["rows"], g["columns"]), order="F"),
                       np.fromfile(folder / f"{kind}.y"))
    return cases


def gap(x, y, w, lam):
    r = y - x @ w
    theta = r * min(1, lam * len(y) / np.abs(x.T @ r).max())
    primal = r @ r / 2 / len(y) + lam * np.abs(w).sum()
    dual = (y @ y - (y - theta) @ (y - theta)) / 2 / len(y)
    return (primal - dual) / (y @ y / 2 / len(y))


def logistic_gap(x, signs, w, lam):
    eta = x @ w
    share = 1 / (1 + np.exp(signs * eta))
    g = -signs * share / len(signs)
    s = min(1, lam / np.abs(x.T @ g).max())
    a = np.clip(s * share, 1e-300, 1 - 1e-16)
    dual = -(a * np.log(a) + (1 - a) * np.log1p(-a)).mean()
    return (np.logaddexp(0, -signs * eta).mean() + lam * np.abs(w).sum() - dual) / np.log(2)


def solvers(peer, x, y):
    """name -> (function of strengths and tolerance giving coefficients [columns, strengths], tolerances)"""
    n = len(y)
    if peer == "sklearn":
        from sklearn.linear_model import lasso_path
        return (lambda lams, tol: lasso_path(x, y, alphas=lams, tol=tol, max_iter=100_000, copy_X=False)[1],
                [1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
    if peer == "celer":
        from celer import celer_path
        return (lambda lams, tol: celer_path(x, y, "lasso", alphas=lams, tol=tol, max_iter=1000)[1],
                [1e-4, 1e-5, 1e-6, 1e-7])
    if peer == "skglm":
        from skglm.datafits import Quadratic
        from skglm.penalties import L1
        from skglm.solvers import AndersonCD

        def run(lams, tol):
            penalty = L1(1.0)
            solver = AndersonCD(tol=tol, fit_intercept=False, max_iter=500, max_epochs=50_000)
            if len(lams) == 1:
                penalty = L1(lams[0])
                from skglm.utils.jit_compilation import compiled_clone
                datafit, penalty = compiled(Quadratic, None), compiled(L1, lams[0])
                return solver.solve(x, y, datafit, penalty)[0][:, None]
            return solver.path(x, y, compiled(Quadratic, None), compiled(L1, lams[0]), alphas=lams)[1]

        return run, [10.0 ** -k for k in range(3, 13)]
    if peer == "adelie":
        import adelie as ad
        matrix = ad.matrix.sparse(x, method="naive", n_threads=1) if sparse.issparse(x) else ad.matrix.dense(
            x, method="naive", n_threads=1)
        loss = ad.glm.gaussian(y=y)

        def run(lams, tol):
            # From the strength at which nothing is selected, as its path requires.
            top = np.abs(x.T @ y).max() / len(y)
            path = top * np.geomspace(1, lams[0] / top, 5) if len(lams) == 1 else lams
            state = ad.grpnet(matrix, loss, lmda_path=path, intercept=False, adev_tol=1, ddev_tol=0, early_exit=False,
                              tol=tol, n_threads=1, progress_bar=False)
            return (state.betas[-1] if len(lams) == 1 else state.betas).toarray().reshape(-1, x.shape[1]).T

        return run, [10.0 ** -k for k in range(5, 15)]
    raise SystemExit(f"no peer {peer}")


def logistic_solvers(peer, x, signs):
    """As `solvers`, for one strength: minimises mean log(1 + exp(-s x·w)) + λ‖w‖₁."""
    n = len(signs)
    tolerances = [10.0 ** -k for k in range(2, 13)]
    if peer in ("liblinear", "saga"):
        from sklearn.linear_model import LogisticRegression

        def run(lams, tol):
            model = LogisticRegression(penalty="l1", C=1 / (n * lams[0]), solver=peer, fit_intercept=False, tol=tol,
                                       max_iter=100_000 if peer == "liblinear" else 20_000, random_state=0)
            return model.fit(x, signs).coef_[0][:, None]

        return run, tolerances
    if peer == "celer":
        from celer import LogisticRegression

        def run(lams, tol):
            model = LogisticRegression(C=1 / (n * lams[0]), tol=tol, fit_intercept=False, max_iter=200)
            return model.fit(x, signs).coef_[0][:, None]

        return run, tolerances
    if peer == "skglm":
        from skglm.datafits import Logistic
        from skglm.penalties import L1
        from skglm.solvers import ProxNewton

        def run(lams, tol):
            solver = ProxNewton(tol=tol, fit_intercept=False, max_iter=200, warm_start=False)
            return solver.solve(x, signs, compiled(Logistic, None), compiled(L1, lams[0]))[0][:, None]

        return run, tolerances
    if peer == "adelie":
        import adelie as ad
        matrix = ad.matrix.dense(x, method="naive", n_threads=1)
        loss = ad.glm.binomial(y=np.where(signs > 0, 1.0, 0.0))

        def run(lams, tol):
            # From the strength at which nothing is selected, as its path requires; only the last is kept.
            top = np.abs(x.T @ signs).max() / (2 * n)
            state = ad.grpnet(matrix, loss, lmda_path=top * np.geomspace(1, lams[0] / top, 5), intercept=False,
                              adev_tol=1, ddev_tol=0, early_exit=False, tol=tol, irls_tol=tol, n_threads=1,
                              progress_bar=False)
            return state.betas[-1].toarray().ravel()[:, None]

        return run, tolerances
    raise SystemExit(f"no peer {peer}")


_compiled = {}


def compiled(kind, argument):
    from skglm.utils.jit_compilation import compiled_clone
    key = (kind.__name__, argument)
    if key not in _compiled:
        _compiled[key] = compiled_clone(kind() if argument is None else kind(argument))
    return _compiled[key]


GLMNET = """
suppressMessages({library(glmnet); library(Matrix)})
args <- commandArgs(TRUE); folder <- args[1]; kind <- args[2]; repeats <- as.integer(args[3])
y <- readBin(file.path(folder, paste0(kind, ".y")), "double", 1e8)
if (kind == "dense") {
  x <- matrix(readBin(file.path(folder, "dense.x"), "double", 1e8), nrow = length(y))
} else {
  starts <- readBin(file.path(folder, "sparse.start"), "integer", 1e8)
  starts <- starts[seq(1, length(starts), 2)]
  x <- sparseMatrix(i = readBin(file.path(folder, "sparse.index"), "integer", 1e8), p = starts, index1 = FALSE,
    x = readBin(file.path(folder, "sparse.values"), "double", 1e8), dims = c(length(y), length(starts) - 1))
}
lams <- as.double(strsplit(args[4], ",")[[1]])
glmnet.control(fdev = 0, devmax = 1)
worst <- Inf
for (k in 7:16) {
  fit <- function() glmnet(x, y, lambda = lams, intercept = FALSE, standardize = FALSE, thresh = 10^-k, maxit = 1e8)
  m <- fit()
  n <- length(y); worst <- 0
  for (i in seq_along(m$lambda)) {
    w <- m$beta[, i]; r <- as.vector(y - x %*% w)
    theta <- r * min(1, m$lambda[i] * n / max(abs(as.vector(crossprod(x, r)))))
    g <- (sum(r^2) / 2 / n + m$lambda[i] * sum(abs(w)) - (sum(y^2) - sum((y - theta)^2)) / 2 / n) / (sum(y^2) / 2 / n)
    worst <- max(worst, g)
  }
  if (worst <= 1e-6) break
}
times <- c()
for (i in 1:repeats) { t <- proc.time()[["elapsed"]]; fit(); times <- c(times, proc.time()[["elapsed"]] - t) }
cat(sprintf('{"version": "%s", "thresh": %g, "gap": %g, "seconds": [%s]}', packageVersion("glmnet"), 10^-k, worst,
  paste(times, collapse = ", ")))
"""


GLMNET_LOGISTIC = """
suppressMessages({library(glmnet)})
args <- commandArgs(TRUE); folder <- args[1]; kind <- args[2]; repeats <- as.integer(args[3]); lam <- as.double(args[4])
s <- readBin(file.path(folder, paste0(kind, ".y")), "double", 1e8); n <- length(s)
x <- matrix(readBin(file.path(folder, paste0(if (kind == "labels") "dense" else kind, ".x")), "double", 1e8), nrow = n)
y <- factor(s)
glmnet.control(fdev = 0, devmax = 1, mxitnr = 1000)
top <- max(abs(crossprod(x, s))) / (2 * n)
lams <- exp(seq(log(top), log(lam), length.out = 5))
worst <- Inf
for (k in 5:16) {
  fit <- function() glmnet(x, y, family = "binomial", lambda = lams, intercept = FALSE, standardize = FALSE,
    thresh = 10^-k, maxit = 1e8)
  m <- fit()
  w <- m$beta[, length(m$lambda)]; eta <- as.vector(x %*% w)
  share <- 1 / (1 + exp(s * eta)); g <- -s * share / n
  scale <- min(1, lam / max(abs(as.vector(crossprod(x, g)))))
  a <- pmin(pmax(scale * share, 1e-300), 1 - 1e-16)
  dual <- -mean(a * log(a) + (1 - a) * log1p(-a))
  primal <- mean(pmax(0, -s * eta) + log1p(exp(-abs(eta)))) + lam * sum(abs(w))
  worst <- (primal - dual) / log(2)
  if (worst <= 1e-6) break
}
times <- c()
for (i in 1:repeats) { t <- proc.time()[["elapsed"]]; fit(); times <- c(times, proc.time()[["elapsed"]] - t) }
cat(sprintf('{"version": "%s", "thresh": %g, "gap": %g, "seconds": [%s]}', packageVersion("glmnet"), 10^-k, worst,
  paste(times, collapse = ", ")))
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="sklearn,liblinear,saga,celer,skglm,adelie,glmnet")
    parser.add_argument("--cases", default="dense,sparse,labels,golub,grants")
    parser.add_argument("--golub", default="/usr/lib/R/site-library/multtest/data/golub.RData")
    parser.add_argument("--grants", default="/usr/lib/R/site-library/modeldata/data/Rdata.rdb")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "problems.json").exists():
        make(folder)
    complete(folder, {"golub": options.golub, "grants": options.grants})
    target = folder / "peers.json"
    results = json.loads(target.read_text()) if target.exists() else {}
    for kind, (x, y) in load(folder).items():
        if kind not in options.cases.split(","):
            continue
        logistic = kind == "labels" or kind in TABLES
        known_peers = ({"liblinear", "saga", "celer", "skglm", "adelie", "glmnet"} if logistic
                       else {"sklearn", "celer", "skglm", "adelie", "glmnet"})
        top = np.abs(x.T @ y).max() / len(y) / (2 if logistic else 1)
        problems = {"10": [top / 10], "100": [top / 100]} if logistic else {"10": [top / 10], "100": [top / 100], "path": list(top * np.logspace(0, -2, 100))}
        for case, lams in problems.items():
            repeats = options.repeats if case != "path" else max(1, options.repeats // 2)
            for peer in options.only.split(","):
                name = f"{kind} {case}"
                if peer not in known_peers:
                    continue
                if peer == "glmnet":
                    if not shutil.which("Rscript"):
                        continue
                    with tempfile.NamedTemporaryFile("w", suffix=".R") as script:
                        script.write(GLMNET_LOGISTIC if logistic else GLMNET)
                        script.flush()
                        out = subprocess.run(
                            ["Rscript", script.name, str(folder), kind, str(repeats), ",".join(map(repr, map(float, lams)))],
                            capture_output=True, text=True, check=True).stdout
                    entry = json.loads(out)
                    entry = {"seconds": entry["seconds"], "gap": entry["gap"], "tolerance": entry["thresh"]}
                else:
                    run, tolerances = (logistic_solvers if logistic else solvers)(peer, x, y)
                    known = results.get(name, {}).get(peer, {}).get("tolerance")
                    run([lams[0]] if len(lams) == 1 else lams[:2], 1e-2)  # compiles
                    for tolerance in [known] if known else tolerances:
                        w = np.asarray(run(lams, tolerance)).reshape(x.shape[1], -1)
                        worst = max((logistic_gap if logistic else gap)(x, y, w[:, i], lam) for i, lam in enumerate(lams))
                        if worst <= GAP:
                            break
                    times = []
                    for _ in range(repeats):
                        start = time.perf_counter()
                        run(lams, tolerance)
                        times.append(time.perf_counter() - start)
                    entry = {"seconds": times, "gap": worst, "tolerance": tolerance}
                results.setdefault(name, {})[peer] = entry
                print(f"{name:12} {peer:8} {np.median(entry['seconds']):.4f} s  gap {entry['gap']:.2g}"
                      f"  tolerance {entry['tolerance']:g}", flush=True)
                target.write_text(json.dumps(results, indent=1))


main()
