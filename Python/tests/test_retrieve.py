"""Indexes against products of dense matrices, against each other, and against what is wrong."""

import gc
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

import lacuna
from lacuna import _library

ENCODER = os.path.join(
    os.path.dirname(__file__), "..", "..", "Tests", "LacunaRetrieveTests", "Fixtures", "inference-free")


def collection(documents=400, terms=120, density=0.1, seed=0, dtype=np.float32):
    generator = np.random.default_rng(seed)
    return abs(sp.random(documents, terms, density=density, format="csr", random_state=generator)).astype(dtype)


def best(documents, query, k):
    """Documents that share a term with a query, by their products, of equal ones the earlier."""
    scores = np.asarray(documents.astype(np.float64) @ np.asarray(query.toarray(), dtype=np.float64).ravel())
    order = [int(i) for i in np.lexsort((np.arange(scores.size), -scores)) if scores[i] > 0][:k]
    return order, scores


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fmt", ["csr", "csc", "coo"])
def test_exact_search_is_the_product(tmp_path, dtype, fmt):
    x, queries = collection(dtype=dtype), collection(30, seed=1, dtype=dtype)
    index = lacuna.Index.build(x.asformat(fmt), tmp_path / "index")
    assert len(index) == 400 and index.stats["entries"] == x.nnz and index.stats["deleted"] == 0
    for row, hits in enumerate(index.search(queries.asformat(fmt), k=17, explain=True)):
        order, scores = best(x, queries[[row]], 17)
        np.testing.assert_allclose([hit.score for hit in hits], scores[order], rtol=1e-5)
        for hit in hits:
            assert hit.score == pytest.approx(scores[int(hit.id)], rel=1e-5) and hit.text == ""
            shared = set(x[[int(hit.id)]].indices) & set(queries[[row]].indices)
            assert {int(term) for term in hit.terms} == shared
            assert sum(hit.terms.values()) == pytest.approx(hit.score, rel=1e-4)
            assert list(hit.terms.values()) == sorted(hit.terms.values(), reverse=True)


def test_weights_by_terms_and_names():
    index = lacuna.Index.build(
        [{"cat": 1.5, "dög": 2.0}, {"dög": 3.0}, {}], ids=["a", "b", 7], texts=["one", "two", "three"])
    assert [(hit.id, hit.score, hit.text) for hit in index.search({"dög": 2.0, "never seen": 9.0})] == [
        ("b", 6.0, "two"), ("a", 4.0, "one")]
    assert [[hit.id for hit in hits] for hits in index.search([{"cat": 1}, {}, {"bird": 1}])] == [["a"], [], []]
    assert 7 in index and "a" in index and "c" not in index
    # The same by a matrix whose columns have names, in another order.
    named = lacuna.Index.build(
        sp.csr_matrix([[2.0, 1.5], [3.0, 0.0]]), ids=["a", "b"], terms=["dög", "cat"])
    assert [hit[:2] for hit in named.search({"dög": 2.0})] == [("b", 6.0), ("a", 4.0)]
    assert [hit[:2] for hit in named.search(sp.csr_matrix([[2.0, 0.0]]))[0]] == [("b", 6.0), ("a", 4.0)]


def test_words_are_weighed_by_bm25():
    texts = ["The cats sat on the mats", "a cat and a cat and a cat", "dogs bark", "the of and"]
    index = lacuna.Index.build(texts, k1=1.2, b=0.75)
    hits = index.search("cats", explain=True)
    # By the formula: stems without stop words.
    counts = [{"cat": 1, "sat": 1, "mat": 1}, {"cat": 3}, {"dog": 1, "bark": 1}, {}]
    average = sum(sum(count.values()) for count in counts) / 4
    idf = np.log1p((4 - 2 + 0.5) / (2 + 0.5))
    expected = {
        str(i): idf * c["cat"] * 2.2 / (c["cat"] + 1.2 * (0.25 + 0.75 * sum(c.values()) / average))
        for i, c in enumerate(counts) if "cat" in c}
    assert {hit.id: hit.score for hit in hits} == pytest.approx(expected, rel=1e-5)
    assert hits[0].id == "1" and hits[0].text == texts[1] and list(hits[0].terms) == ["cat"]
    assert index.search("the") == [] and index.search("") == []
    plain = lacuna.Index.build(texts, bm25="plain-words")
    assert [hit.id for hit in plain.search("cats")] == ["0"] and len(plain.search("the")) == 2
    # Counts of one's own give what the words gave.
    terms = ["cat", "sat", "mat", "dog", "bark"]
    own = lacuna.Index.build(
        sp.csr_matrix([[c.get(term, 0) for term in terms] for c in counts]), terms=terms, bm25="counts", k1=1.2, b=0.75)
    assert {hit.id: hit.score for hit in own.search({"cat": 1})} == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="cannot be encoded"):
        own.search("cats")


def test_a_learned_encoder(tmp_path):
    texts = ["the wing of an aircraft", "heat in boundary layers", "a dense network of rivers"]
    index = lacuna.Index.build(texts, tmp_path / "index", encoder=ENCODER, max_terms=20)
    found = [hit.id for hit in index.search(texts[1], explain=True)]
    assert found and found == [hit.id for hit in index.search([texts[1]], exact=True)[0]]
    # The index says what its texts were encoded with; if that has moved, the caller does.
    again = lacuna.Index.open(tmp_path / "index", encoder=ENCODER)
    assert again.search(texts[1]) == index.search(texts[1])
    with pytest.raises(lacuna.LacunaError, match="nowhere"):
        lacuna.Index.open(tmp_path / "index", encoder=tmp_path / "nowhere").search("wing")


def test_changes(tmp_path):
    x = collection(100)
    index = lacuna.Index.build(x[:60], tmp_path / "index")
    other = lacuna.Index.open(tmp_path / "index")
    index.add(x[60:], ids=range(60, 100))
    whole = lacuna.Index.build(x)
    queries = collection(20, seed=3)

    def same(a, b):
        # Sums go by terms in the order in which documents brought them, so that last bits may differ.
        return all(
            [hit.id for hit in found] == [hit.id for hit in others]
            and [hit.score for hit in found] == pytest.approx([hit.score for hit in others], rel=1e-6)
            for found, others in zip(a.search(queries, 8), b.search(queries, 8)))

    # Seen by who has it open as well.
    assert len(index) == len(other) == 100 and same(index, whole) and same(other, whole)
    assert index.delete([3, 5, "never there"]) == 2 and 3 not in other and len(other) == 98
    kept = [i for i in range(100) if i not in (3, 5)]
    assert same(other, lacuna.Index.build(x[kept], ids=kept))
    index.add(x[[3]], ids=[5])
    # Equal scores come in the order in which documents were added.
    assert same(other, lacuna.Index.build(x[kept + [3]], ids=kept + [5]))
    assert index.stats["deleted"] > 0 and index.stats["segments"] > 1
    index.merge()
    assert index.stats["deleted"] == 0 and index.stats["segments"] == 1
    assert same(other, lacuna.Index.build(x[kept + [3]], ids=kept + [5]))
    # All or none.
    bad = x[:5].copy()
    bad.data[-1] = -1
    with pytest.raises(ValueError, match="negative"):
        index.add(bad, ids=["n%d" % i for i in range(5)])
    assert len(index) == 99 and "n0" not in index and len(lacuna.Index.open(tmp_path / "index")) == 99


def test_an_index_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "index"
    lacuna.Index.build([{"a": 1.0}], path)
    with pytest.raises(OSError, match="exists already"):
        lacuna.Index.build([{"b": 1.0}], path)
    with pytest.raises(ValueError, match="negative"):
        lacuna.Index.build([{"b": 1.0}, {"b": -1.0}], path, overwrite=True)
    assert len(lacuna.Index.open(path).search({"a": 1})) == 1
    assert len(lacuna.Index.build([{"b": 1.0}], path, overwrite=True).search({"b": 1})) == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("precious")
    with pytest.raises(OSError, match="not an index"):
        lacuna.Index.build([{"b": 1.0}], tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "mine.txt").read_text() == "precious"


def test_filters():
    index = lacuna.Index.build(
        [{"w": 1.0 + i} for i in range(4)],
        metadata=[{"year": 1950 + i, "section": ["libs", "odd"] if i % 2 else "libs"} for i in range(4)])
    assert [hit.id for hit in index.search({"w": 1}, filter="year >= 1951 and section = odd")] == ["3", "1"]
    assert [hit.id for hit in index.search({"w": 1}, filter="not section = odd")] == ["2", "0"]
    with pytest.raises(ValueError, match="colour"):
        index.search({"w": 1}, filter="colour = red")
    with pytest.raises(ValueError, match="filter"):
        index.search({"w": 1}, filter="year >")


def test_approximate_search_and_its_recall(tmp_path):
    x, queries = collection(3000, 400, 0.05, seed=5), collection(64, 400, 0.03, seed=6)
    index = lacuna.Index.build(x, tmp_path / "index", kind="seismic", n_postings=40, query_cut=3, heap_factor=0.9)
    assert (index.query_cut, index.heap_factor) == (3, pytest.approx(0.9))
    exact = index.search(queries, exact=True)
    assert [[h.id for h in hits] for hits in exact] == [
        [h.id for h in hits] for hits in lacuna.Index.build(x).search(queries)]

    def counted(**setting):
        total = 0.0
        for found, true in zip(index.search(queries, **setting), exact):
            total += min(sum(hit.score >= true[-1].score for hit in found), len(true)) / len(true)
        return total / 64

    rough = index.recall(queries)
    assert rough.mean == pytest.approx(counted()) and rough.queries == 64 and 0 < rough.standard_error < 0.1
    assert rough.mean < 0.95 and rough.documents_scored < 3000
    everything = index.recall(queries, query_cut=float("inf"), heap_factor=0)
    assert everything.mean == pytest.approx(counted(query_cut=float("inf"), heap_factor=0))
    assert everything.mean > rough.mean and everything.documents_scored > rough.documents_scored
    tuning = index.tune(0.8, queries)
    assert tuning.reached and tuning.recall.queries == 32 and tuning.recall.mean > 0.7
    # The directory remembers.
    again = lacuna.Index.open(tmp_path / "index")
    assert (again.query_cut, again.heap_factor) == (tuning.query_cut, pytest.approx(tuning.heap_factor))
    assert not index.tune(1.0).reached
    index.heap_factor = 0.5
    assert again.heap_factor == 0.5 and index.recall().queries == 256
    assert lacuna.Index.build(x).recall(queries).mean == 1


def test_what_is_refused(tmp_path):
    x = collection(10)
    index = lacuna.Index.build(x)
    unknown = {
        "is no number of an index": {"neighbors": 3}, "no meaning for an exact index": {"n_postings": 10},
        "no meaning without bm25": {"k1": 1}, "no meaning without an encoder": {"max_terms": 4},
        "'fuzzy' is none of": {"kind": "fuzzy"}, "'letters' is none of": {"bm25": "letters"},
        "BM25 needs an exact index": {"kind": "seismic", "bm25": "counts"},
        "exclude each other": {"kind": "seismic", "block_size": 4, "cluster_ratio": 0.5},
        "is 1.5, not a whole number": {"kind": "seismic", "neighbours": 1.5}, "n_postings": {"kind": "seismic", "n_postings": 0},
        "ids: are 2 for 10": {"ids": [1, 2]}, "terms: are 1 for 120": {"terms": ["a"]},
        "is the name of two columns": {"terms": ["a"] * 120}, "NUL": {"terms": ["a\0"] + list("b" * 119)},
        "metadata: are 1": {"metadata": [{}]}, "texts: are 0": {"texts": []},
    }
    for reason, arguments in unknown.items():
        with pytest.raises(ValueError, match=reason):
            lacuna.Index.build(x, tmp_path / "never", **arguments)
    assert not (tmp_path / "never").exists()
    with pytest.raises(ValueError, match="k: is 0"):
        index.search({"1": 1}, k=0)
    for k in (1 << 64, (1 << 64) + 3, 2.5):
        with pytest.raises(ValueError, match="k: is"):
            index.search({"1": 1}, k=k)
    # Two identifiers that no UTF-8 has must not become one.
    with pytest.raises(ValueError, match="cannot be written in UTF-8"):
        lacuna.Index.build([{"a": 1.0}, {"a": 2.0}], ids=["\ud800", "\udfff"])
    with pytest.raises(ValueError, match="negative or not finite"):
        index.search({"1": float("nan")})
    for setting in ({"query_cut": 3}, {"heap_factor": 0.5}):
        with pytest.raises(ValueError, match="no meaning for an exact search"):
            index.search({"1": 1}, **setting)
    with pytest.raises(ValueError, match="heap_factor: is nan"):
        index.search({"1": 1}, heap_factor=float("nan"))
    with pytest.raises(ValueError, match="query_cut: 0 is below 1"):
        index.search({"1": 1}, query_cut=0)
    with pytest.raises(ValueError, match="is exact"):
        index.tune(0.9)
    with pytest.raises(ValueError, match="exact"):
        index.heap_factor = 0.4
    with pytest.raises(ValueError, match="cannot be encoded"):
        index.search("a text")
    for queries in (5, ["a", {"b": 1}], [1, 2], np.ones(3), b"bytes"):
        with pytest.raises(TypeError):
            index.search(queries)
    with pytest.raises(ValueError, match="JSON compliant"):
        lacuna.Index.build([{"a": 1.0}], metadata=[{"year": float("nan")}])
    with pytest.raises(OSError, match="is no index"):
        lacuna.Index.open(tmp_path)
    with pytest.raises(TypeError):
        lacuna.Index.build({"a": 1.0})


def test_damage_is_noticed(tmp_path):
    lacuna.Index.build(collection(50), tmp_path / "index")
    segment = next((tmp_path / "index").glob("segment-*"))
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.write_bytes(content)
    with pytest.raises(lacuna.LacunaError, match="segment-"):
        lacuna.Index.open(tmp_path / "index")


def test_progress_and_its_end(tmp_path):
    steps = []
    lacuna.Index.build(collection(600), kind="seismic", progress=lambda task, done, total: steps.append(task))
    assert {"adding documents", "building blocks"} <= set(steps)
    with pytest.raises(lacuna.CancelledError):
        lacuna.Index.build(collection(600), tmp_path / "index", progress=lambda *_: False)
    assert not (tmp_path / "index" / "index.json").exists()


def test_columns_without_names_cost_nothing():
    wide = sp.csr_matrix((np.array([1.0, 2.0]), np.array([5, 2_999_999_999]), np.array([0, 1, 2])), shape=(2, 3_000_000_000))
    index = lacuna.Index.build(wide)
    assert [hit[:2] for hit in index.search({"2999999999": 3.0, "5": 1.0})] == [("1", 6.0), ("0", 1.0)]
    assert [hit.id for hit in index.search(wide[:1])[0]] == ["0"] and index.stats["terms"] == 2


def test_a_callback_cannot_change_what_is_being_changed():
    index = lacuna.Index.build(collection(20))
    more, found = collection(300, seed=4), []

    def change(task, done, total):
        # Asking is allowed, also for what is there now.
        assert len(index) == 20 and index.search({"5": 1.0}) is not None
        for attempt in (index.merge, lambda: index.delete(["0"]), lambda: index.add(collection(3), ids="abc")):
            with pytest.raises(ValueError, match="is being changed"):
                attempt()
            found.append(attempt)

    index.add(more, ids=[f"more{i}" for i in range(300)], progress=change)
    assert len(found) >= 3 and len(index) == 320
    # Afterwards, and after a change that failed, it can be changed again.
    with pytest.raises(RuntimeError, match="enough"):
        index.add(more, ids=range(300), progress=lambda *_: (_ for _ in ()).throw(RuntimeError("enough")))
    assert index.delete(["0"]) == 1 and len(index) == 319


def search(index):
    return [hit[:2] for hit in index.search({"5": 1.0, "7": 2.0})]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_and_pickles(tmp_path, method):
    index = lacuna.Index.build(collection(200), tmp_path / "index")
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(search, [index] * 2).get(timeout=120) == [search(index)] * 2
    assert search(pickle.loads(pickle.dumps(index))) == search(index)


def test_nothing_is_left_behind():
    gc.collect()
    before = _library.library.lacuna_object_count()
    index = lacuna.Index.build(collection(50), kind="seismic")
    path = index.path
    assert os.path.isdir(path)
    for _ in range(3):
        index.search(collection(5, seed=2), explain=True)
        index.recall()
        with pytest.raises(ValueError):
            index.search({"1": -1.0})
    del index
    gc.collect()
    assert _library.library.lacuna_object_count() == before and not os.path.exists(os.path.dirname(path))


def test_a_matrix_may_go_before_its_vectors(tmp_path):
    """What is lent to a matrix is given back with it, and the vectors made of it live on."""
    expected = collection(300, seed=9)
    handle = lacuna.SparseMatrix(expected)
    vectors = _library.Handle(_library.library.lacuna_vectors_rows, handle._handle, None)
    values = handle._handle.kept[2]
    del handle
    gc.collect()
    values[:] = -1
    index = _library.Handle(_library.library.lacuna_index_create, os.fsencode(tmp_path / "index"), 0)
    _library.check(_library.library.lacuna_index_add(index, vectors, None, None, None, _library.Progress(0), None))
    assert len(lacuna.Index.open(tmp_path / "index")) == 300
