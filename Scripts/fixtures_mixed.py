"""Writes Tests/LacunaRegressTests/Fixtures/mixed.json: small grouped tables and what statsmodels and SciPy find for them.

Needs: pip install numpy scipy statsmodels==0.15.0
- `normal`: maximum likelihood of a random-intercept model by statsmodels' MixedLM (reml=False).
- `student`: maximum likelihood of the multivariate Student model, its density from scipy.stats.multivariate_t, minimised by
  BFGS and then Nelder-Mead over the coefficients, log s² and log t.
- `plain`: Student regression without groups, its density from scipy.stats.t, minimised the same way.
"""

import json
from pathlib import Path

import numpy as np
import statsmodels.api as sm
from scipy import optimize, stats

OUT = Path(__file__).parent.parent / "Tests/LacunaRegressTests/Fixtures/mixed.json"
rng = np.random.default_rng(8)
sizes = [3, 7, 5, 4, 6, 1, 5, 8, 3, 6, 4, 8]
groups = np.repeat(np.arange(len(sizes)), sizes)
n, p = len(groups), 3
X = np.round(rng.standard_normal((n, p)) + np.array([0, 1, -2]), 3)
X[:, 2] = np.round(rng.standard_normal(len(sizes))[groups], 3)  # the same within a group
u = 1.2 * rng.standard_normal(len(sizes))
e = rng.standard_t(3, n)
y = np.round(2 + X @ np.array([1.5, -1, 0.5]) + u[groups] + 0.7 * e, 3)
order = rng.permutation(n)  # groups need not be contiguous
X, y, groups = X[order], y[order], groups[order]
Z = np.column_stack([np.ones(n), X])

ml = sm.MixedLM(y, Z, groups).fit(reml=False, method=["bfgs", "lbfgs", "nm"], gtol=1e-12)
normal = {
    "coefficients": ml.fe_params[1:].tolist(), "intercept": float(ml.fe_params[0]), "residual": float(ml.scale),
    "ratio": float(ml.cov_re[0, 0] / ml.scale), "logLikelihood": float(ml.llf),
    "randomIntercepts": [float(ml.random_effects[g].iloc[0]) if hasattr(ml.random_effects[g], "iloc")
                         else float(ml.random_effects[g][0]) for g in range(len(sizes))],
}


def polish(f, start):
    best = optimize.minimize(f, start, method="BFGS", options={"gtol": 1e-10, "maxiter": 10000})
    for _ in range(4):
        best = optimize.minimize(f, best.x, method="Nelder-Mead",
                                 options={"xatol": 1e-11, "fatol": 1e-14, "maxiter": 40000, "maxfev": 40000})
    return best


def grouped(nu):
    def f(x):
        b, s2, t = x[:-2], np.exp(x[-2]), np.exp(x[-1])
        r = y - Z @ b
        return -sum(stats.multivariate_t.logpdf(
            r[groups == g], shape=s2 * (np.eye(k) + t), df=nu) for g, k in enumerate(sizes))
    best = polish(f, np.concatenate([ml.fe_params, [0.0, 0.0]]))
    return {"degreesOfFreedom": nu, "coefficients": best.x[1:-2].tolist(), "intercept": best.x[0],
            "residual": float(np.exp(best.x[-2])), "ratio": float(np.exp(best.x[-1])), "logLikelihood": -best.fun}


def plain(nu):
    def f(x):
        return -stats.t.logpdf(y - Z @ x[:-1], df=nu, scale=np.exp(x[-1] / 2)).sum()
    best = polish(f, np.concatenate([ml.fe_params, [0.0]]))
    return {"degreesOfFreedom": nu, "coefficients": best.x[1:-1].tolist(), "intercept": best.x[0],
            "residual": float(np.exp(best.x[-1])), "logLikelihood": -best.fun}


OUT.write_text(json.dumps({
    "rows": n, "columns": p, "design": X.ravel(order="F").tolist(), "target": y.tolist(), "groups": groups.tolist(),
    "normal": normal, "student": [grouped(3.0), grouped(1.0)], "plain": [plain(2.0), plain(5.0)],
    "density": [{"degreesOfFreedom": nu, "count": k, "squaredDistance": d,
                 "value": float(stats.multivariate_t.logpdf(
                     np.full(k, np.sqrt(d / k)), shape=np.eye(k), df=nu))}
                for nu in [0.5, 3.0, 40.0, 1e7] for k in [1, 4] for d in [0.0, 2.5, 900.0]],
}, indent=None) + "\n")
