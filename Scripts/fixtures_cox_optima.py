"""Writes Tests/LacunaRegressTests/Fixtures/cox-optima.json: the least objectives of Cox's partial likelihood with an L1 penalty, down
to very small penalties, for the times of survival.json (which Scripts/fixtures_survival.py writes).

Needs: pip install numpy
The full matrix of second derivatives, every risk set added up anew, exact coordinate steps on each quadratic model: slow and
plain. Objectives are the means over rows that Lacuna uses.
"""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent.parent / "Tests/LacunaRegressTests/Fixtures"
data = json.loads((FOLDER / "survival.json").read_text())
n, p = data["rows"], data["columns"]
X = np.array(data["design"]).reshape(p, n).T
X = X - X.mean(0)
times, events = np.array(data["times"]), np.array(data["events"]) == 1
weight = 1 / n


def terms(ties):
    """(weight, multipliers) for every logarithm: log sum_i a_i exp(eta_i)."""
    for time in np.unique(times[events]):
        own = (times == time) & events
        for l in range(own.sum()):
            a = weight * (times >= time)
            if ties == "efron":
                a = np.where(own, a * (1 - l / own.sum()), a)
            yield weight, a


def derivatives(eta, ties):
    value, gradient, bend = -weight * eta[events].sum(), -weight * events.astype(float), np.zeros((n, n))
    for w, a in terms(ties):
        e = a * np.exp(eta - eta.max())
        q = e / e.sum()
        value += w * (np.log(e.sum()) + eta.max())
        gradient = gradient + w * q
        bend += w * (np.diag(q) - np.outer(q, q))
    return value, gradient, bend


def solve(strength, ties, b):
    for _ in range(200):
        _, slope, bend = derivatives(X @ b, ties)
        slope, bend = X.T @ slope, X.T @ bend @ X
        z, g = b.copy(), slope.copy()
        for _ in range(20000):
            change = 0.0
            for j in range(p):
                u = z[j] - g[j] / bend[j, j]
                v = np.sign(u) * max(abs(u) - strength / bend[j, j], 0)
                g += bend[:, j] * (v - z[j])
                change = max(change, abs(v - z[j]))
                z[j] = v
            if change < 1e-15:
                break
        moved = np.abs(z - b).max()
        b = z
        if moved < 1e-14:
            break
    return b


optima = []
for ties in ("efron", "breslow"):
    largest = np.abs(X.T @ derivatives(np.zeros(n), ties)[1]).max()
    b = np.zeros(p)
    for share in (0.3, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8):
        strength = share * largest
        b = solve(strength, ties, b)
        value, slope, _ = derivatives(X @ b, ties)
        g = X.T @ slope
        off = max(max(abs(abs(g[b != 0]) - strength), default=0), max(abs(g[b == 0]) - strength, default=0))
        assert off < 1e-15, off
        optima.append({"ties": ties, "strength": strength, "objective": value + strength * np.abs(b).sum(),
                       "coefficients": b.tolist()})
(FOLDER / "cox-optima.json").write_text(json.dumps({"optima": optima}) + "\n")
