"""Writes Tests/LacunaRegressTests/Fixtures/peers.json: small problems and the coefficients that scikit-learn, celer and
skglm find for them, solved far beyond the 1e-6 that the tests ask for.

Needs: pip install numpy scipy scikit-learn==1.9.1 celer==0.7.4 skglm==0.5
Objectives are the means over rows that Lacuna uses; where a peer's differs, its strength is converted.
"""

import json
from pathlib import Path

import celer
import numpy as np
from scipy import sparse
from sklearn import linear_model
from skglm import GeneralizedLinearEstimator
from skglm.datafits import Huber, Poisson, Quadratic
from skglm.penalties import MCPenalty, SCAD, L1
from skglm.solvers import AndersonCD, ProxNewton

OUT = Path(__file__).parent.parent / "Tests/LacunaRegressTests/Fixtures/peers.json"
rng = np.random.default_rng(5)
n, p = 40, 60


def toeplitz_design(rho=0.5):
    x = rng.standard_normal((n, p))
    for j in range(1, p):
        x[:, j] = rho * x[:, j - 1] + np.sqrt(1 - rho**2) * x[:, j]
    return x


X = np.round(toeplitz_design() + rng.uniform(-0.5, 0.5, p), 3)
beta = np.zeros(p)
beta[[2, 7, 20, 33, 50]] = [2, -1.5, 1, -2.5, 0.7]
y = np.round(X @ beta + 0.5 * rng.standard_normal(n) + 3, 3)
labels = (X @ beta / 2 + rng.logistic(size=n) > 0).astype(int)
weights = np.round(rng.uniform(0.2, 2, n), 3)
weights[3] = 0
counts = rng.poisson(np.exp(0.3 * np.clip(X @ beta, -4, 4)))
S = X * (rng.random((n, p)) < 0.2)
S[:, 11] = 0
classes = rng.integers(0, 3, n)
classes = np.where(X[:, 2] > 0.8, 0, np.where(X[:, 33] > 0.3, 1, classes))
Y = np.round(np.stack([y, X[:, :8] @ rng.standard_normal(8)], axis=1), 3)

cases = []


def case(name, kind, coef, constants, **settings):
    coef = np.asarray(coef, dtype=float)
    cases.append({"name": name, "kind": kind, "coefficients": coef.ravel(order="F").tolist(),
                  "intercepts": np.atleast_1d(np.asarray(constants, dtype=float)).tolist(), **settings})


def lambda_max(x, target, intercept):
    if intercept:
        target = target - target.mean()
        x = x - x.mean(0)
    return np.abs(x.T @ target).max() / n


tight = dict(tol=1e-14, max_iter=1_000_000)
for design, x in (("dense", X), ("sparse", S)):
    for intercept in (True, False):
        for fraction in (0.3, 0.03):
            lam = float(lambda_max(x, y, intercept) * fraction)
            m = linear_model.Lasso(alpha=lam, fit_intercept=intercept, **tight)
            m.fit(x, y)
            case(f"lasso {design} {intercept} {fraction}", "lasso", m.coef_, m.intercept_, design=design,
                 intercept=intercept, strength=lam)
            m = linear_model.ElasticNet(alpha=lam, l1_ratio=0.4, fit_intercept=intercept, **tight)
            m.fit(x, y)
            case(f"elastic net {design} {intercept} {fraction}", "elastic-net", m.coef_, m.intercept_, design=design,
                 intercept=intercept, strength=lam, mixing=0.4)
lam = float(lambda_max(X, y, True) * 0.1)
m = linear_model.Lasso(alpha=lam, **tight)
m.fit(X, y, sample_weight=weights)
case("lasso weighted", "lasso", m.coef_, m.intercept_, design="dense", intercept=True, strength=lam, weighted=True)
m = linear_model.Lasso(alpha=lam, positive=True, **tight)
m.fit(X, y)
case("lasso non-negative", "non-negative", m.coef_, m.intercept_, design="dense", intercept=True, strength=lam)

for fraction in (0.3, 0.05):
    signs = 2 * labels - 1
    lam = float(np.abs(X.T @ signs).max() / (2 * n) * fraction)
    m = celer.LogisticRegression(C=1 / (lam * n), fit_intercept=False, tol=1e-13, max_iter=1000)
    m.fit(X, labels)
    case(f"logistic {fraction}", "logistic", m.coef_[0], 0, design="dense", intercept=False, strength=lam)
    m = linear_model.LogisticRegression(l1_ratio=1, C=1 / (lam * n), solver="saga", tol=1e-13, max_iter=2_000_000)
    m.fit(X, labels)
    case(f"logistic with intercept {fraction}", "logistic", m.coef_[0], m.intercept_, design="dense", intercept=True,
         strength=lam)
m = linear_model.LogisticRegression(l1_ratio=1, C=1 / (0.03 * n), solver="saga", tol=1e-13, max_iter=2_000_000)
m.fit(X, classes)
case("multinomial", "multinomial", m.coef_.T, m.intercept_, design="dense", intercept=True, strength=0.03)

for fraction in (0.4, 0.1):
    norms = [np.linalg.norm(X[:, g:g + 5].T @ y) / n for g in range(0, p, 5)]
    lam = float(max(norms) * fraction)
    m = celer.GroupLasso(groups=5, alpha=lam, fit_intercept=False, tol=1e-14, max_iter=10_000)
    m.fit(X, y)
    case(f"group lasso {fraction}", "group-lasso", m.coef_, 0, design="dense", intercept=False, strength=lam, size=5)
m = linear_model.MultiTaskLasso(alpha=0.2, **tight)
m.fit(X, Y)
case("multi-task lasso", "multi-task", m.coef_.T, m.intercept_, design="dense", intercept=True, strength=0.2)

# Folded penalties have many stationary points: strengths at which solvers that start from 0 agree.
Q = np.linalg.qr(rng.standard_normal((n, 12)))[0] * np.sqrt(n)
Q = np.round(Q + 0.05 * rng.standard_normal((n, 12)), 3)
z = np.round(Q[:, :4] @ np.array([2, -1.5, 0.8, 0.4]) + 0.3 * rng.standard_normal(n), 3)
for fraction in (0.5, 0.15):
    lam = float(np.abs(Q.T @ z).max() / n * fraction)
    for kind, penalty in (("mcp", MCPenalty(lam, 3.0)), ("scad", SCAD(lam, 3.7))):
        m = GeneralizedLinearEstimator(Quadratic(), penalty, AndersonCD(tol=1e-13, fit_intercept=False, max_iter=500))
        m.fit(Q, z)
        case(f"{kind} {fraction}", kind, m.coef_, 0, design="orthogonal", intercept=False, strength=lam)

lam = 0.05
m = GeneralizedLinearEstimator(Huber(1.0), L1(lam), AndersonCD(tol=1e-13, fit_intercept=False, max_iter=2000))
m.fit(X, y - 3)
case("huber", "huber", m.coef_, 0, design="dense", intercept=False, strength=lam, delta=1.0, shift=3.0)
m = GeneralizedLinearEstimator(Poisson(), L1(0.1), ProxNewton(tol=1e-13, fit_intercept=False, max_iter=500))
m.fit(X, counts)
case("poisson", "poisson", m.coef_, 0, design="dense", intercept=False, strength=0.1)

OUT.parent.mkdir(parents=True, exist_ok=True)
columns = lambda a: np.asarray(a, dtype=float).ravel(order="F").tolist()
OUT.write_text(json.dumps({
    "rows": n, "columns": p, "dense": columns(X), "sparse": columns(S), "orthogonal": columns(Q), "target": y.tolist(),
    "labels": labels.tolist(), "classes": classes.tolist(), "weights": weights.tolist(), "counts": counts.tolist(),
    "tasks": columns(Y), "orthogonalTarget": z.tolist(), "cases": cases}))
print(len(cases), "cases,", OUT.stat().st_size, "bytes")
