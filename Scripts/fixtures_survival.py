"""Writes Tests/LacunaRegressTests/Fixtures/survival.json: times to events with ties, and the coefficients, likelihoods and
concordance that lifelines, scikit-survival and skglm find for them; and least squares with a SLOPE penalty by skglm.

Needs: pip install numpy scikit-learn==1.9.1 skglm==0.5 lifelines==0.30.3 scikit-survival==0.28.0
Objectives are the means over rows that Lacuna uses; where a peer's differs, its strength is converted.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from skglm import GeneralizedLinearEstimator
from skglm.datafits import Cox, Quadratic
from skglm.penalties import L1, SLOPE
from skglm.solvers import FISTA, ProxNewton
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv

warnings.filterwarnings("ignore")
OUT = Path(__file__).parent.parent / "Tests/LacunaRegressTests/Fixtures/survival.json"
rng = np.random.default_rng(19)
n, p = 80, 10
X = rng.standard_normal((n, p))
for j in range(1, p):
    X[:, j] = 0.5 * X[:, j - 1] + np.sqrt(0.75) * X[:, j]
X = np.round(X + rng.uniform(-2, 2, p), 3)
beta = np.zeros(p)
beta[[0, 3, 7]] = [1, -0.8, 0.6]
life = rng.exponential(np.exp(-(X - X.mean(0)) @ beta)) * 10
lost = rng.exponential(12, n)
# Whole numbers: many ties.
times = np.ceil(np.minimum(life, lost))
events = life <= lost
weights = np.round(rng.uniform(0.3, 2, n), 3)
frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(p)]).assign(time=times, event=events, w=weights)
exact = {"precision": 1e-12, "max_steps": 500}

cases = []


def case(name, ties, coef, strength=0.0, weighted=False, **rest):
    cases.append({"name": name, "ties": ties, "coefficients": np.asarray(coef, dtype=float).tolist(),
                  "strength": strength, "weighted": weighted, **rest})


for ties in ("efron", "breslow"):
    model = CoxPHSurvivalAnalysis(ties=ties, tol=1e-14, n_iter=500).fit(X, Surv.from_arrays(events, times))
    case(f"scikit-survival {ties}", ties, model.coef_)
    y = np.column_stack([times, events.astype(float)])
    datafit = Cox(use_efron=ties == "efron")
    for share in (0.5, 0.1):
        datafit.initialize(X, y)
        largest = np.abs(X.T @ datafit.raw_grad(y, np.zeros(n))).max()
        solver = ProxNewton(fit_intercept=False, tol=1e-13, max_iter=500)
        case(f"skglm {ties} {share}", ties, solver.solve(X, y, datafit, L1(share * largest))[0], share * largest)
for weighted in (False, True):
    model = CoxPHFitter(penalizer=0).fit(
        frame if weighted else frame.drop(columns="w"), "time", "event", weights_col="w" if weighted else None,
        robust=weighted, fit_options=exact)
    case(f"lifelines efron{' weighted' if weighted else ''}", "efron", model.params_.values, weighted=weighted,
         logLikelihood=model.log_likelihood_)

risk = np.round(X @ beta, 1)
concordance = concordance_index_censored(events, times, risk)[0]

target = np.round((X - X.mean(0)) @ np.array([2, 2, 0, -1.5, 0, 0, 0, 1, 0, 0.1]) + rng.standard_normal(n), 3)
target -= target.mean()
centered = X - X.mean(0)
slopes = []
for factors in (np.linspace(1, 0.3, p), np.sqrt(np.log(2 * p / np.arange(1, p + 1)))):
    factors = factors / factors[0]
    cumulated = np.cumsum(np.sort(np.abs(centered.T @ target / n))[::-1]) / np.cumsum(factors)
    strength = 0.3 * cumulated.max()
    model = GeneralizedLinearEstimator(
        datafit=Quadratic(), penalty=SLOPE(strength * factors), solver=FISTA(max_iter=200_000, tol=1e-13, opt_strategy="fixpoint")).fit(
            centered, target)
    slopes.append({"factors": factors.tolist(), "strength": strength, "coefficients": model.coef_.tolist()})

OUT.write_text(json.dumps({
    "rows": n, "columns": p, "design": X.ravel(order="F").tolist(), "times": times.tolist(),
    "events": events.astype(int).tolist(), "weights": weights.tolist(), "cases": cases, "risk": risk.tolist(),
    "concordance": concordance, "target": target.tolist(), "slopes": slopes}) + "\n")
