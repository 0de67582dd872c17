#!/usr/bin/env python3
"""Search over sparse vectors beside other libraries, in one run on one machine.

    pip install numpy scipy pyseismic-lsr==0.5.4 kannolo==0.15.1 bmp==0.2.8 bm25s==0.3.16
    python3 Scripts/peers_retrieve.py LACUNA DIRECTORY [approximate] [exact] [words] [encode] [large]
        [--documents 100000] [--threads 1 2] [--texts CORPUS.jsonl] [--large 1000000]

LACUNA is a release build of the program; DIRECTORY takes the data (made once) and the indexes. Without names of parts the first
three run; `--texts` is for `words` and `encode`. Each part ends with ratios against the fastest other library; nothing is left out because it is
slow, and what a library cannot do is said.

approximate  Seismic beside pyseismic-lsr and kannolo (HNSW over 16-bit values): queries a second at recall@10 of 0.90, 0.95 and
             0.99, the fastest setting of each library's grid that reaches it; index bytes, seconds to build
exact        the exact index beside bmp, both with whole weights, where answers are compared
encode       SPLADE-tiny, or --model, beside sentence-transformers on the first 1000 texts (pip install sentence-transformers)
words        BM25 beside bm25s (which must have numba for its speed) on texts
large        a million documents: seconds to build, the largest memory meanwhile, time to open, queries a second

Vectors: about 120 entries of a vocabulary of 30,522, terms by Zipf's law mixed with 1000 topics, log-normal weights; 500 queries of
about 39 entries. Recall@10 counts documents whose score reaches the tenth best."""
import argparse, json, os, shutil, subprocess, sys, threading, time

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

import numpy as np
import scipy.sparse as sp

V, TOPICS, QUERIES, GOALS = 30522, 1000, 500, (0.90, 0.95, 0.99)


class Generator:
    """Vectors as learned encoders make them. The same seed gives the same vectors, whatever is asked for first."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.topic_terms = rng.integers(0, V, (TOPICS, 400))
        zipf = 1 / np.arange(1, V + 1) ** 0.9
        self.cumulative = np.cumsum(zipf / zipf.sum())
        self.order = rng.permutation(V)

    def rows(self, stream, first, count, nnz):
        """Rows first..<first + count of a stream, in blocks of 10,000 that are drawn by themselves."""
        block = 10_000
        for start in range(first // block * block, first + count, block):
            rng = np.random.default_rng([stream, start])
            u, v, coin = rng.random((block, nnz)), rng.random((block, nnz)), rng.random((block, nnz))
            common = self.order[np.minimum(np.searchsorted(self.cumulative, u), V - 1)]
            pairs = rng.integers(0, TOPICS, (block, 2))
            own = np.take_along_axis(pairs, rng.integers(0, 2, (block, nnz)), 1)
            special = self.topic_terms[own, (v**2 * 400).astype(int)]
            terms = np.where(coin < 0.5, common, special)
            weights = np.round(np.exp(rng.normal(0, 0.6, (block, nnz))), 3).astype(np.float32)
            for i in range(block):
                if first <= start + i < first + count:
                    kept, places = np.unique(terms[i], return_index=True)
                    yield kept, weights[i][places]


def write_lines(path, rows):
    with open(path + ".part", "w") as f:
        for i, (terms, weights) in enumerate(rows):
            vector = ",".join(f'"t{a}":{b:.3f}' for a, b in zip(terms.tolist(), weights.tolist()))
            f.write(f'{{"id":"{i}","content":"","vector":{{{vector}}}}}\n')
    os.rename(path + ".part", path)


def csr(rows):
    rows = list(rows)
    lengths = [len(t) for t, _ in rows]
    return sp.csr_matrix((np.concatenate([w for _, w in rows]), np.concatenate([t for t, _ in rows]).astype(np.int32),
                          np.concatenate([[0], np.cumsum(lengths)])), (len(rows), V))


class Data:
    def __init__(self, place, count):
        os.makedirs(place, exist_ok=True)
        self.place, self.count, generator = place, count, Generator()
        self.documents_path, self.queries_path = f"{place}/documents-{count}.jsonl", f"{place}/queries.jsonl"
        if not os.path.exists(self.documents_path):
            write_lines(self.documents_path, generator.rows(1, 0, count, 135))
        if not os.path.exists(self.queries_path):
            write_lines(self.queries_path, generator.rows(2, 0, QUERIES, 41))
        self.query_rows = list(generator.rows(2, 0, QUERIES, 41))
        self.generator = generator

    def matrices(self):
        return csr(self.generator.rows(1, 0, self.count, 135)), csr(self.query_rows)


def size(path):
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(folder, f)) for folder, _, files in os.walk(path) for f in files)


def lacuna(arguments, threads=None):
    """Seconds, standard output and error, and the largest resident memory, of a run of the program."""
    start, peak, done = time.time(), [0], threading.Event()
    command = [options.lacuna] + arguments + (["--threads", str(threads)] if threads else [])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def watch():
        while not done.wait(0.05):
            try:
                for line in open(f"/proc/{process.pid}/status"):
                    if line.startswith("VmHWM"):
                        peak[0] = max(peak[0], int(line.split()[1]) * 1024)
            except (OSError, ValueError):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, err = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: {err}")
    return time.time() - start, out, err, peak[0]


def rate(err):
    """Queries a second, of what a search says on standard error."""
    words = next(line for line in err.splitlines() if "a second" in line).split("a second")[0].split()
    return float(words[-1].replace(",", ""))


def hits(out, numbered=True):
    found = {}
    for line in out.splitlines():
        q, _, d, _, s, _ = line.split()
        found.setdefault(q, []).append((int(d) if numbered else d, float(s)))
    return found


def best(times, run):
    return min(run() for _ in range(times))


def timed(body):
    start = time.time()
    body()
    return time.time() - start


class Curve:
    """Recall and queries a second of the settings of one library."""

    def __init__(self, name, build, size):
        self.name, self.build, self.size, self.points = name, build, size, []
        print(f"{name}: built in {build:.1f} s, {size / 1e6:.0f} MB", flush=True)

    def add(self, setting, recall, rate):
        self.points.append((recall, rate))
        print(f"  {setting:36} recall {recall:.3f}  {rate:8.0f} queries a second", flush=True)

    def at(self, goal):
        return max((rate for recall, rate in self.points if recall >= goal), default=None)


TIMES = 3
CUTS = [(c, h) for c in (3, 4, 5, 6, 8, 10, 12, 16) for h in (1.0, 0.9, 0.8, 0.7)] + [(20, 0.6), (24, 0.5), (39, 0.4)]


def approximate(data, threads):
    D, Q = data.matrices()
    true = [np.asarray((D @ Q[i].T).todense()).ravel() for i in range(QUERIES)]
    tenth = [np.sort(t)[-10] for t in true]
    print(f"\n== {data.count} documents of {D.nnz / data.count:.1f} entries, queries of {Q.nnz / QUERIES:.1f}; {threads} thread(s)")

    def recall(found):
        return np.mean([min(sum(true[i][d] >= tenth[i] * (1 - 1e-5) for d in row), 10) / 10 for i, row in enumerate(found)])

    curves = []
    index = f"{data.place}/index-seismic"
    seconds, _, _, _ = lacuna(["index", "build", index, data.documents_path, "--seismic", "--force", "--no-contents",
                               "--n-postings", "2000", "--memory", "8192"], threads)
    ours = Curve("lacuna", seconds, size(index))
    for setting in [None] + CUTS:
        extra = ["--exact"] if setting is None else ["--query-cut", str(setting[0]), "--heap-factor", str(setting[1])]
        runs = [lacuna(["search", index, "--vectors", data.queries_path, "--output", "-", "--trust"] + extra, threads)
                for _ in range(TIMES)]
        found = hits(runs[0][1])
        ours.add(" ".join(extra), recall([[d for d, _ in found.get(str(i), [])] for i in range(QUERIES)]),
                 max(rate(err) for _, _, err, _ in runs))

    import seismic
    start = time.time()
    peer = seismic.SeismicIndex.build(data.documents_path, n_postings=2000, num_threads=threads, load_content=False)
    seconds = time.time() - start
    stored = f"{data.place}/peer-seismic"
    peer.save(stored)
    files = [f for f in os.listdir(data.place) if f.startswith("peer-seismic")]
    curve = Curve("pyseismic-lsr", seconds, sum(size(f"{data.place}/{f}") for f in files))
    ids = np.array([str(i) for i in range(QUERIES)], dtype=seismic.get_seismic_string())
    components = [np.array([f"t{a}" for a in t], dtype=seismic.get_seismic_string()) for t, _ in data.query_rows]
    values = [w for _, w in data.query_rows]
    for cut, factor in CUTS:
        def search():
            return peer.batch_search(ids, components, values, k=10, query_cut=cut, heap_factor=factor, num_threads=threads)
        found = [[] for _ in range(QUERIES)]
        for row in search():
            for q, _, d in row:
                found[int(q)].append(int(d))
        curve.add(f"query cut {cut}, factor {factor}", recall(found), QUERIES / best(TIMES, lambda: timed(search)))
    del peer
    curves.append(curve)

    import kannolo
    # It aborts for terms beyond the documents' last, which score nothing.
    known = Q[:, :D.indices.max() + 1]
    flat = known.indices.astype(np.int32), known.data.astype(np.float32), known.indptr.astype(np.int64)
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    start = time.time()
    peer = kannolo.SparseFixedU16HNSW.build_from_arrays(
        D.indices.astype(np.int32), D.data.astype(np.float32), D.indptr.astype(np.int64), m=32, ef_construction=200,
        metric="dotproduct")
    seconds = time.time() - start
    stored = f"{data.place}/peer-kannolo"
    peer.save(stored)
    curve = Curve("kannolo (its build takes all processors)", seconds, size(stored))
    for breadth in (10, 100) if options.quick else (10, 20, 30, 40, 60, 80, 100, 150, 200, 300, 500, 800):
        def search():
            return peer.batch_search(*flat, 10, ef_search=breadth, num_threads=threads)
        found = np.asarray(search()[1]).reshape(QUERIES, -1)
        curve.add(f"ef {breadth}", recall(found.tolist()), QUERIES / best(TIMES, lambda: timed(search)))
    curves.append(curve)

    for goal in GOALS:
        rates = {c.name: c.at(goal) for c in curves}
        reached = {name: r for name, r in rates.items() if r}
        fastest = max(reached, key=reached.get, default=None)
        own = ours.at(goal)
        print(f"recall {goal}: lacuna {own and round(own)}, " + ", ".join(f"{n} {r and round(r)}" for n, r in rates.items())
              + (f"; {own / reached[fastest]:.2f} x {fastest}" if own and fastest else "; no ratio"))
    other = curves[0]
    print(f"bytes {ours.size / other.size:.2f} x, build {other.build / ours.build:.2f} x as fast as {other.name}", flush=True)


def exact(data, threads):
    """Whole weights, so that scores are equal to the last bit and answers can be compared."""
    print(f"\n== exact, whole weights, {data.count} documents; {threads} thread(s)")
    D, Q = data.matrices()
    D.data = np.ceil(D.data * 20).clip(1, 255)
    # bmp brings a query's largest weight to 32 and rounds the others: with 32 for the largest nothing is lost.
    largest = np.maximum.reduceat(Q.data, Q.indptr[:-1])
    Q.data = np.ceil(Q.data / np.repeat(largest, np.diff(Q.indptr)) * 32).clip(1, 32)

    def rows(M):
        for i in range(M.shape[0]):
            part = slice(M.indptr[i], M.indptr[i + 1])
            yield M.indices[part], M.data[part]

    documents, queries = f"{data.place}/whole-{data.count}.jsonl", f"{data.place}/whole-queries.jsonl"
    for path, matrix in ((documents, D), (queries, Q)):
        if not os.path.exists(path):
            write_lines(path, rows(matrix))
    index = f"{data.place}/index-exact"
    seconds, _, _, _ = lacuna(["index", "build", index, documents, "--force", "--no-contents", "--memory", "8192"], threads)
    runs = [lacuna(["search", index, "--vectors", queries, "--output", "-", "--trust"], threads) for _ in range(TIMES)]
    own, found = max(rate(err) for _, _, err, _ in runs), hits(runs[0][1])
    print(f"lacuna: built in {seconds:.1f} s, {size(index) / 1e6:.0f} MB, {own:.0f} queries a second", flush=True)
    true = [np.asarray((D @ Q[i].T).todense()).ravel() for i in range(QUERIES)]
    scores = [np.sort(t)[::-1][:10] for t in true]
    wrong = sum([s for _, s in found[str(i)]] != scores[i].tolist() for i in range(QUERIES))
    print(f"  {QUERIES - wrong} of {QUERIES} queries have the ten best scores of the dense product")
    import bmp
    for block in (32,) if options.quick else (8, 16, 32, 64):
        path = f"{data.place}/peer-{block}.bmp"
        start = time.time()
        indexer = bmp.Indexer(path, block, False)
        for i, (terms, weights) in enumerate(rows(D)):
            indexer.add_document(str(i), {str(a): int(w) for a, w in zip(terms, weights)})
        # It leaves out a last block that is not full.
        for i in range(-D.shape[0] % block):
            indexer.add_document(str(D.shape[0] + i), {"nothing": 1})
        indexer.finish()
        built = time.time() - start
        searcher = bmp.Searcher(path)
        asked = [{str(a): int(w) for a, w in zip(t, v)} for t, v in rows(Q)]

        def search():
            return [searcher.search(query, 10, 1.0, 1.0) for query in asked]
        results = search()
        # It scales scores by itself: what counts is which documents it finds.
        agree = sum(len(r[0]) == 10 and all(true[i][int(d)] >= scores[i][9] for d in r[0]) for i, r in enumerate(results))
        peer = QUERIES / best(TIMES, lambda: timed(search))
        print(f"bmp, blocks of {block} (one thread): built in {built:.1f} s, {size(path) / 1e6:.0f} MB, {peer:.0f} queries a second,"
              f" {agree} of {QUERIES} answers are ten best documents; lacuna {own / peer:.2f} x", flush=True)


def words(texts, threads):
    print(f"\n== BM25 on {texts}; {threads} thread(s)")
    lines = [json.loads(line) for line in open(texts)]
    contents = [" ".join(filter(None, (d.get("title"), d.get("text") or d.get("contents")))) for d in lines]
    rng = np.random.default_rng(3)
    split = [c.split() for c in contents]
    # Some words in a row of a text: queries as people paste them.
    queries = []
    while len(queries) < 2000:
        text = split[rng.integers(len(split))]
        if len(text) >= 8:
            start = rng.integers(len(text) - 5)
            queries.append(" ".join(text[start:start + 5]))
    place = options.directory
    asked = f"{place}/word-queries.jsonl"
    with open(asked, "w") as f:
        for i, q in enumerate(queries):
            f.write(json.dumps({"_id": str(i), "text": q}) + "\n")
    index = f"{place}/index-words"
    seconds, _, _, _ = lacuna(["index", "build", index, texts, "--bm25", "--force", "--no-contents"], threads)
    runs = [lacuna(["search", index, "--queries", asked, "--output", "-", "--trust"], threads) for _ in range(TIMES)]
    own = max(rate(err) for _, _, err, _ in runs)
    print(f"lacuna: built in {seconds:.1f} s, {size(index) / 1e6:.0f} MB, {own:.0f} queries a second", flush=True)
    import bm25s
    start = time.time()
    tokens = bm25s.tokenize(contents, stopwords="en", show_progress=False)
    try:
        import numba  # noqa: F401
        backend = "numba"
    except ImportError:
        backend = "numpy"
    peer = bm25s.BM25(k1=0.9, b=0.4, backend=backend)
    peer.index(tokens, show_progress=False)
    built = time.time() - start
    queries = bm25s.tokenize(queries, stopwords="en", show_progress=False)

    def search():
        peer.retrieve(queries, k=10, show_progress=False, n_threads=threads if threads > 1 else 0)
    search()
    other = 2000 / best(TIMES, lambda: timed(search))
    print(f"bm25s ({backend}; no stemming): built in {built:.1f} s, {other:.0f} queries a second; lacuna {own / other:.2f} x", flush=True)


def encode(texts, threads):
    """The same model on the same texts, by sentence-transformers."""
    model = lacuna(["data", options.model, "--path"])[1].strip() if not os.path.isdir(options.model) else options.model
    print(f"\n== encoding with {model}; {threads} thread(s)")
    lines = [line for _, line in zip(range(1000), open(texts))]
    short, whole = f"{options.directory}/one-text.jsonl", f"{options.directory}/texts.jsonl"
    for path, part in ((short, lines[:1]), (whole, lines)):
        with open(path, "w") as f:
            f.writelines(part)
    output = f"{options.directory}/vectors.jsonl"
    # What starting the program and loading the model takes is taken off.
    load = min(lacuna(["encode", short, "--model", model, "--output", output, "--force"], threads)[0] for _ in range(TIMES))
    spent = min(lacuna(["encode", whole, "--model", model, "--output", output, "--force"], threads)[0] for _ in range(TIMES)) - load
    print(f"lacuna: {len(lines) / spent:.1f} texts a second, JSON lines in and out", flush=True)
    import torch
    from sentence_transformers import SparseEncoder
    torch.set_num_threads(threads)
    peer = SparseEncoder(model, device="cpu", local_files_only=True)
    contents = [" ".join(filter(None, (d.get("title"), d.get("text") or d.get("contents")))) for d in map(json.loads, lines)]
    vectors = peer.encode_document(contents[:32], convert_to_sparse_tensor=False, show_progress_bar=False)
    other = min(timed(lambda: peer.encode_document(contents, batch_size=32, show_progress_bar=False)) for _ in range(TIMES))
    names = peer.tokenizer.convert_ids_to_tokens(range(vectors.shape[1]))
    largest = 0.0
    for line, row in zip(open(output), np.asarray(vectors)):
        own = json.loads(line)["vector"]
        largest = max(largest, max(abs(own.get(names[j], 0) - row[j]) for j in range(len(names))))
    print(f"sentence-transformers: {len(lines) / other:.1f} texts a second; lacuna {other / spent:.2f} x; weights differ by {largest:.0e}",
          flush=True)


def large(count, threads):
    data = Data(options.directory, count)
    print(f"\n== {count} documents, {os.path.getsize(data.documents_path) / 1e9:.2f} GB of lines; {threads} thread(s)")
    for kind in (["--seismic", "--n-postings", "6000"], []):
        index = f"{options.directory}/index-large-{'seismic' if kind else 'exact'}"
        seconds, _, _, peak = lacuna(
            ["index", "build", index, data.documents_path, "--force", "--no-contents", "--memory", "2048"] + kind, threads)
        print(f"lacuna {' '.join(kind) or 'exact'}: built in {seconds:.0f} s ({count / seconds:.0f} documents a second), "
              f"{peak / 2**30:.2f} GiB at most, {size(index) / 1e9:.2f} GB", flush=True)
        one = f"{options.directory}/one-query.jsonl"
        with open(data.queries_path) as f, open(one, "w") as g:
            g.write(f.readline())
        seconds, _, _, peak = lacuna(["search", index, "--vectors", one, "--output", "-", "--trust"], threads)
        print(f"  opened and searched once in {seconds:.2f} s, {peak / 2**20:.0f} MiB")
        for extra in ([["--query-cut", "8", "--heap-factor", "0.8"], ["--exact"]] if kind else [[]]):
            _, _, err, peak = lacuna(["search", index, "--vectors", data.queries_path, "--output", "-", "--trust"] + extra, threads)
            print(f"  {' '.join(extra) or 'search'}: {rate(err):.0f} queries a second, {peak / 2**30:.2f} GiB", flush=True)
        if not options.keep:
            shutil.rmtree(index)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("lacuna")
parser.add_argument("directory")
parser.add_argument("parts", nargs="*", default=[], metavar="approximate|exact|words|encode|large")
parser.add_argument("--documents", type=int, default=100_000)
parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
parser.add_argument("--texts", help="lines of documents, such as Scripts/debian_collection.py makes")
parser.add_argument("--model", default="splade-tiny")
parser.add_argument("--large", type=int, default=1_000_000)
parser.add_argument("--quick", action="store_true", help="few settings, once each: to see that it runs")
parser.add_argument("--keep", action="store_true", help="keep the indexes of `large`")
options = parser.parse_args()
if options.quick:
    TIMES, CUTS = 1, [(5, 0.9), (39, 0.4)]
unknown = set(options.parts) - {"approximate", "exact", "words", "encode", "large"}
if unknown:
    parser.error(f"there is no part {', '.join(unknown)}")
parts = options.parts or ["approximate", "exact"] + (["words"] if options.texts else [])
if {"words", "encode"} & set(parts) and not options.texts:
    parser.error("words and encode need --texts")
if {"approximate", "exact"} & set(parts):
    made = Data(options.directory, options.documents)
for threads in options.threads:
    if "approximate" in parts:
        approximate(made, threads)
    if "exact" in parts:
        exact(made, threads)
    if "words" in parts:
        words(options.texts, threads)
    if "encode" in parts:
        encode(options.texts, threads)
    if "large" in parts:
        large(options.large, threads)
