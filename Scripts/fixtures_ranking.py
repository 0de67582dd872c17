#!/usr/bin/env python3
"""Rankings, judgements and what trec_eval (through ir_measures) says of them, for the tests of LacunaRetrieve.

    pip install ir_measures==0.4.3 pytrec_eval-terrier scipy
    python3 Scripts/fixtures_ranking.py Tests/LacunaRetrieveTests/Fixtures

Writes ranking.run, ranking.qrels, and ranking.json: each metric query by query and its mean, and for two systems the paired
t-test of SciPy."""
import json, random, sys
import ir_measures
from scipy import stats

out = sys.argv[1]
rng = random.Random(7)
run, second, qrels = [], [], []
for q in range(12):
    docs = rng.sample(range(60), 40)
    judged = rng.sample(range(60), rng.randint(3, 25))
    for d in judged:
        grade = 0 if q == 5 else rng.choice([-1, 0, 0, 1, 1, 2, 3])
        qrels.append((f"q{q}", f"d{d}", grade))
    if q == 9:
        continue  # a judged query that the run leaves out
    for d in docs[: rng.choice([0 + 3, 12, 40])]:
        # Coarse scores tie often; some differ by less than single precision can tell.
        score = rng.randint(0, 6) * 0.5 + (1e-9 * rng.randint(0, 3) if q % 2 else 0)
        run.append((f"q{q}", f"d{d}", score))
    for d in docs:
        second.append((f"q{q}", f"d{d}", rng.random()))
run.append(("unjudged", "d1", 1.0))

def write(name, rows):
    with open(f"{out}/{name}", "w") as f:
        for i, (q, d, s) in enumerate(rows):
            f.write(f"{q} Q0 {d} {i + 1} {s!r} fixture\n")
write("ranking.run", run)
write("ranking-second.run", second)
with open(f"{out}/ranking.qrels", "w") as f:
    for q, d, g in qrels:
        f.write(f"{q} 0 {d} {g}\n")

names = ["nDCG@10", "nDCG@3", "nDCG", "RR@10", "RR", "AP", "AP@5", "R@5", "R@20", "P@5", "P@50", "Success@1", "Success@5"]
measures = [ir_measures.parse_measure(n) for n in names]
Q = [ir_measures.Qrel(q, d, g) for q, d, g in qrels]
def evaluate(rows):
    R = [ir_measures.ScoredDoc(q, d, s) for q, d, s in rows]
    values = {n: {} for n in names}
    for metric in ir_measures.iter_calc(measures, Q, R):
        values[str(metric.measure)][metric.query_id] = metric.value
    return values, {str(m): v for m, v in ir_measures.calc_aggregate(measures, Q, R).items()}
values, means = evaluate(run)
# ir_measures takes RR@k from another provider, which orders ties in its own way. trec_eval's, cut at 10:
values["RR@10"] = {q: v if v >= 1 / 10 else 0.0 for q, v in values["RR"].items()}
means["RR@10"] = sum(values["RR@10"].values()) / len(values["RR@10"])
values2, means2 = evaluate(second)
queries = sorted(values["nDCG@10"])
t = stats.ttest_rel([values["nDCG@10"][q] for q in queries], [values2["nDCG@10"][q] for q in queries])
interval = t.confidence_interval(0.95)
json.dump({"values": values, "means": means, "secondMeans": means2,
           "t": {"metric": "nDCG@10", "p": t.pvalue, "low": interval.low, "high": interval.high},
           "student": [[df, x, float(2 * stats.t.sf(x, df))] for df in (1, 2, 5, 30, 224, 5000) for x in (0.01, 0.5, 1.3, 2.7, 9.0)]},
          open(f"{out}/ranking.json", "w"), indent=1)
print(means, t)
print({n: len(v) for n, v in values.items()})
