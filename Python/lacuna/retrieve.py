"""Search: documents as weights of terms in an index, exact or approximate, that can be changed while it is searched."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import tempfile
import threading
import weakref
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np

from ._library import Handle, InvalidArgumentError, ProgressFunction, Watch, array, check, library, text, whole
from .sparse import _dtype, _is_sparse, _rows

__all__ = ["Hit", "Index", "Recall", "Tuning"]

#: What is searched for: a text, weights by terms, or several of either; or a sparse matrix with a query a row.
Query = Union[str, Mapping[str, float], Sequence[str], Sequence[Mapping[str, float]], Any]


class Hit(NamedTuple):
    """A document that was found."""

    #: The identifier that it was added with.
    id: str
    #: The inner product of its vector and the query's.
    score: float
    #: The text that it was added with; "" if there was none.
    text: str
    #: The query's terms that it has, with what each adds to the score, the most first; empty unless asked for.
    terms: Dict[str, float]


class Recall(NamedTuple):
    """What part of the exact results of some queries a search finds."""

    #: The mean over the queries, from 0 to 1.
    mean: float
    #: Of the mean.
    standard_error: float
    #: Documents whose whole score was computed, a query.
    documents_scored: float
    #: Queries that were measured.
    queries: int


class Tuning(NamedTuple):
    """How an approximate index is searched for a wanted recall."""

    #: Measured on other queries than those that the setting was chosen by.
    recall: Recall
    #: Whether the goal was reached on those that it was chosen by.
    reached: bool
    #: How many of a query's terms are walked; infinite for all.
    query_cut: float
    #: Blocks below this part of the k-th best score so far are passed over.
    heap_factor: float


class Index:
    """An index of documents in a directory. Made by ``Index.build`` or ``Index.open``.

    A document is a vector of weights at terms; its score for a query is the inner product of both. Weights come with the
    documents, or of their texts: by BM25, or by a learned sparse encoder. The directory can be searched while it is changed,
    also by other programs (``lacuna index``, ``lacuna search``); a change is there at once or not at all.
    """

    def __init__(self, handle: Handle, path: str, terms: Optional[Sequence[str]], encoder: Optional[str]):
        self._handle = handle
        #: The directory.
        self.path = path
        #: What the columns of sparse matrices are called; None to call them by their numbers.
        self.terms: Optional[List[str]] = None if terms is None else [str(term) for term in terms]
        self._encoder = encoder
        #: Threads that are changing the index, or wait for it.
        self._changers: Set[int] = set()

    @contextlib.contextmanager
    def _changes(self) -> Iterator[None]:
        """A change. Changes come one after another: one in a callback of another would wait for that for ever."""
        thread = threading.get_ident()
        if thread in self._changers:
            raise InvalidArgumentError("the index is being changed by what calls this function, which cannot change it too")
        self._changers.add(thread)
        try:
            yield
        finally:
            self._changers.discard(thread)

    @classmethod
    def build(
        cls, documents: Any, path: Optional[Union[str, "os.PathLike[str]"]] = None, *,
        ids: Optional[Sequence[Any]] = None, terms: Optional[Sequence[str]] = None,
        texts: Optional[Sequence[str]] = None, metadata: Optional[Sequence[Mapping[str, Any]]] = None,
        kind: str = "exact", bm25: Optional[str] = None, encoder: Optional[Union[str, "os.PathLike[str]"]] = None,
        overwrite: bool = False, progress: Optional[ProgressFunction] = None, **settings: float,
    ) -> "Index":
        """Makes an index; it appears whole or not at all.

        Parameters
        ----------
        documents : sparse matrix of scipy [documents, terms], list of dicts of weights by terms, or list of texts
            Weights are at least 0.
        path : the directory; by default a temporary one that goes when the index does
        ids : an identifier for each document; by default the numbers of the rows
        terms : what the columns of a matrix are called; by default their numbers
        texts : kept to be shown with results; documents that are texts are kept without
        metadata : a dict of words, lists of words and numbers for each document, for filters
        kind : exact, or seismic, which is faster for learned vectors and may miss results (see ``tune``)
        bm25 : words (English stems), plain-words, or counts for documents that count words themselves
            For texts without an encoder, words.
        encoder : the folder of a sparse encoder of sentence-transformers, for texts
        overwrite : whether an index that is there is replaced
        progress : called with a task, the units done and their total
        settings : of BM25 ``k1`` and ``b``; of an encoder ``max_terms`` that are kept of a text; of seismic ``n_postings``,
            ``max_fraction``, ``cluster_ratio``, ``doc_cut``, ``min_cluster_size``, ``block_size``, ``summary_prune_ratio``,
            ``neighbours``, ``seed``, ``query_cut``, ``heap_factor``
        """
        directory = None
        if path is None:
            directory = tempfile.mkdtemp(prefix="lacuna-index-")
            place = os.path.join(directory, "index")
        else:
            place = os.fsdecode(path)
        try:
            handle = Handle(library.lacuna_index_create, text(place, "path"), int(overwrite))
            self = cls(handle, place, terms, None if encoder is None else os.fsdecode(encoder))
            if bm25 is None and encoder is None and _kind(documents) == "texts":
                bm25 = "words"
            chosen = (("kind", kind), ("bm25", bm25), ("encoder", self._encoder))
            for name, value in chosen:
                if value is not None:
                    check(library.lacuna_index_set_text(handle, name.encode(), text(value, name)))
            for name, number in settings.items():
                check(library.lacuna_index_set_number(handle, name.encode(), float(number)))
            self._put(documents, ids, texts, metadata, progress)
        except BaseException:
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)
            raise
        if directory is not None:
            weakref.finalize(self, _remove, directory, os.getpid())
        return self

    @classmethod
    def open(
        cls, path: Union[str, "os.PathLike[str]"], *, encoder: Optional[Union[str, "os.PathLike[str]"]] = None,
        terms: Optional[Sequence[str]] = None, trust: bool = False,
    ) -> "Index":
        """Opens an index that was made before, here or by ``lacuna index``.

        Parameters
        ----------
        encoder : the folder of the index's encoder, if it is not where it was
        terms : what the columns of matrices are called that are added or searched for; by default their numbers
        trust : do not compare the files with their checksums, for indexes of any size that were checked before
        """
        place = os.fsdecode(path)
        folder = None if encoder is None else os.fsdecode(encoder)
        handle = Handle(
            library.lacuna_index_open, text(place, "path"), None if folder is None else text(folder, "encoder"),
            int(trust))
        return cls(handle, place, terms, folder)

    def __reduce__(self) -> Any:
        return _reopened, (self.path, self._encoder, self.terms)

    def __repr__(self) -> str:
        return f"Index({self.path!r}, {len(self):,} documents)"

    def _number(self, name: str) -> float:
        value = ctypes.c_double()
        check(library.lacuna_index_number(self._handle, name.encode(), ctypes.byref(value)))
        return value.value

    def __len__(self) -> int:
        return int(self._number("documents"))

    def __contains__(self, id: Any) -> bool:
        found = ctypes.c_int32()
        check(library.lacuna_index_contains(self._handle, text(str(id), "id"), ctypes.byref(found)))
        return found.value != 0

    @property
    def stats(self) -> Dict[str, int]:
        """Documents, those deleted that still take room, segments, terms, entries of all vectors, bytes of all files."""
        names = ("documents", "deleted", "segments", "terms", "entries", "bytes")
        return {name: int(self._number(name)) for name in names}

    @property
    def query_cut(self) -> Optional[float]:
        """How many of a query's terms an approximate index walks, infinite for all; None for an exact one. May be set."""
        value = self._number("query_cut")
        return None if np.isnan(value) else value

    @query_cut.setter
    def query_cut(self, value: float) -> None:
        with self._changes():
            check(library.lacuna_index_set_number(self._handle, b"query_cut", float(value)))

    @property
    def heap_factor(self) -> Optional[float]:
        """Blocks below this part of the k-th best score so far are passed over; None for an exact index. May be set."""
        value = self._number("heap_factor")
        return None if np.isnan(value) else value

    @heap_factor.setter
    def heap_factor(self, value: float) -> None:
        with self._changes():
            check(library.lacuna_index_set_number(self._handle, b"heap_factor", float(value)))

    # Changing

    def _vectors(self, values: Any, queries: bool, progress: Optional[ProgressFunction]) -> Tuple[Handle, int]:
        """Documents or queries as the library takes them, and how many there are."""
        kind = _kind(values)
        if kind == "texts":
            listed = _texts(values, "texts")
            watch = Watch(progress)
            return watch.run(
                lambda: Handle(
                    library.lacuna_index_encode, self._handle, listed, len(listed), int(queries), watch.callback, None)
            ), len(listed)
        names = self.terms
        if kind == "weights":
            values, names = _matrix(values)
        count, columns = values.shape
        if names is not None and len(names) != columns:
            raise InvalidArgumentError(f"terms: are {len(names)} for {columns} columns")
        listed = None if names is None else _texts(names, "terms")
        return Handle(library.lacuna_vectors_rows, _rows(values, _dtype(values))._handle, listed), count

    def _put(
        self, documents: Any, ids: Optional[Sequence[Any]], texts: Optional[Sequence[str]],
        metadata: Optional[Sequence[Mapping[str, Any]]], progress: Optional[ProgressFunction],
    ) -> None:
        if texts is None and _kind(documents) == "texts":
            texts = documents
        vectors, count = self._vectors(documents, False, progress)

        def listed(values: Optional[Sequence[Any]], name: str) -> Any:
            if values is None:
                return None
            if len(values) != count:
                raise InvalidArgumentError(f"{name}: are {len(values)} for {count} documents")
            return _texts(values, name)

        if metadata is not None:
            metadata = [json.dumps(dict(one), allow_nan=False) for one in metadata]
        arguments = (
            listed(None if ids is None else [str(id) for id in ids], "ids"), listed(texts, "texts"),
            listed(metadata, "metadata"))
        watch = Watch(progress)
        with self._changes():
            watch.run(
                lambda: check(library.lacuna_index_add(self._handle, vectors, *arguments, watch.callback, None)))

    def add(
        self, documents: Any, ids: Sequence[Any], *, texts: Optional[Sequence[str]] = None,
        metadata: Optional[Sequence[Mapping[str, Any]]] = None, progress: Optional[ProgressFunction] = None,
    ) -> None:
        """Adds documents, as ``build`` takes them, all or none. One of an identifier that is there replaces it.

        The index is read for every change: many documents at once are faster than one by one.
        """
        self._put(documents, ids, texts, metadata, progress)

    def delete(self, ids: Sequence[Any]) -> int:
        """Deletes documents. Returns how many of the identifiers there were."""
        listed, deleted = _texts([str(id) for id in ids], "ids"), ctypes.c_int64()
        with self._changes():
            check(library.lacuna_index_delete(self._handle, listed, len(listed), ctypes.byref(deleted)))
        return deleted.value

    def merge(self, progress: Optional[ProgressFunction] = None) -> None:
        """Puts everything into one segment, without the documents that were deleted."""
        watch = Watch(progress)
        with self._changes():
            watch.run(lambda: check(library.lacuna_index_merge(self._handle, watch.callback, None)))

    # Searching

    def search(
        self, queries: Query, k: int = 10, *, filter: Optional[str] = None, exact: bool = False, explain: bool = False,
        query_cut: Optional[float] = None, heap_factor: Optional[float] = None,
        progress: Optional[ProgressFunction] = None,
    ) -> Any:
        """The best documents for a query, or for each of several.

        Parameters
        ----------
        queries : a text, a dict of weights by terms, a list of either, or a sparse matrix with a query a row
        k : documents of a query, at most; only those that share a term with it
        filter : of the metadata, such as ``year >= 1958 and (section = libs or not author = "w. s. hemp")``
        exact : score every document, whatever the index is
        explain : say by which terms each was found
        query_cut, heap_factor : of an approximate index, for this search

        Returns
        -------
        A list of ``Hit``, best first; for several queries a list of such lists.
        """
        single = isinstance(queries, (str, Mapping))
        vectors, count = self._vectors([queries] if single else queries, True, progress)
        watch = Watch(progress)
        condition = None if filter is None else text(filter, "filter")
        hits = watch.run(
            lambda: Handle(
                library.lacuna_index_search, self._handle, vectors, whole(k, "k", 1), condition, *_setting(query_cut, heap_factor),
                int(exact), int(explain), watch.callback, None))
        starts, scores = (array(library.lacuna_hits_array, hits, name).tolist() for name in (b"starts", b"scores"))
        ids, contents = _found(hits, b"ids"), _found(hits, b"texts")
        terms: List[Dict[str, float]] = [{} for _ in scores]
        if explain:
            bounds = array(library.lacuna_hits_array, hits, b"term_starts").tolist()
            parts = list(
                zip(_found(hits, b"terms"), array(library.lacuna_hits_array, hits, b"term_scores").tolist()))
            terms = [dict(parts[bounds[i]:bounds[i + 1]]) for i in range(len(scores))]
        all_hits = [Hit(*fields) for fields in zip(ids, scores, contents, terms)]
        result = [all_hits[starts[i]:starts[i + 1]] for i in range(count)]
        return result[0] if single else result

    def recall(
        self, queries: Optional[Query] = None, k: int = 10, *, query_cut: Optional[float] = None,
        heap_factor: Optional[float] = None, progress: Optional[ProgressFunction] = None,
    ) -> Recall:
        """What part of the exact results a search finds, for some queries; by default for documents cut down to 16 terms."""
        vectors = None if queries is None else self._vectors(_listed(queries), True, progress)[0]
        watch = Watch(progress)
        numbers = watch.run(
            lambda: array(
                library.lacuna_index_recall, self._handle, vectors, whole(k, "k", 1), *_setting(query_cut, heap_factor),
                watch.callback, None))
        return Recall(*numbers[:3].tolist(), int(numbers[3]))

    def tune(
        self, recall: float, queries: Optional[Query] = None, k: int = 10, *,
        progress: Optional[ProgressFunction] = None,
    ) -> Tuning:
        """Finds out how an approximate index has to be searched for a wanted recall at ``k``, and sets that.

        Parameters
        ----------
        recall : above 0 and at most 1
        queries : at least 4, every other one of which chooses while the rest measure; by default documents cut down to 16
            terms
        """
        vectors = None if queries is None else self._vectors(_listed(queries), True, progress)[0]
        watch = Watch(progress)
        with self._changes():
            numbers = watch.run(
                lambda: array(
                    library.lacuna_index_tune, self._handle, vectors, whole(k, "k", 1), float(recall), watch.callback,
                    None)).tolist()
        return Tuning(Recall(*numbers[:3], int(numbers[3])), numbers[4] != 0, numbers[5], numbers[6])


def _kind(values: Any) -> str:
    """Whether documents or queries are a matrix, texts, or weights by terms."""
    if _is_sparse(values):
        if len(values.shape) != 2:
            raise InvalidArgumentError(f"a matrix [rows, terms] is needed, not one of shape {values.shape}")
        return "matrix"
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
        raise TypeError(f"a sparse matrix, or a list of texts or dicts, is needed, not {type(values).__name__}")
    if all(isinstance(value, str) for value in values):
        return "texts"
    if all(isinstance(value, Mapping) for value in values):
        return "weights"
    raise TypeError("a list of texts or of dicts is needed, not one of both or of something else")


def _listed(queries: Query) -> Any:
    return [queries] if isinstance(queries, (str, Mapping)) else queries


def _texts(values: Sequence[str], name: str) -> Any:
    """Texts as the library takes them."""
    return (ctypes.c_char_p * len(values))(*(text(value, name) for value in values))


def _matrix(rows: Sequence[Mapping[str, float]]) -> Tuple[Any, List[str]]:
    """Dicts of weights as a matrix, and what its columns are called."""
    import scipy.sparse

    names: Dict[str, int] = {}
    starts, columns, weights = [0], [], []
    for row in rows:
        for term, weight in row.items():
            columns.append(names.setdefault(term, len(names)))
            weights.append(float(weight))
        starts.append(len(columns))
    matrix = scipy.sparse.csr_matrix((weights, columns, starts), shape=(len(rows), len(names)), dtype=np.float64)
    matrix.sort_indices()
    return matrix, list(names)


def _setting(query_cut: Optional[float], heap_factor: Optional[float]) -> Tuple[float, float]:
    if query_cut is not None and not query_cut >= 1:
        raise InvalidArgumentError(f"query_cut: {query_cut} is below 1")
    if heap_factor is not None and np.isnan(heap_factor):
        raise InvalidArgumentError(f"heap_factor: is {heap_factor}, not a number")
    return 0.0 if query_cut is None else float(query_cut), float("nan") if heap_factor is None else float(heap_factor)


def _found(hits: Handle, name: bytes) -> List[str]:
    """Texts of hits."""
    place = ctypes.c_void_p()
    starts = array(library.lacuna_hits_texts, hits, name, ctypes.byref(place)).tolist()
    content = ctypes.string_at(place.value, starts[-1])
    return [content[start:end].decode("utf-8", "replace") for start, end in zip(starts, starts[1:])]


def _remove(directory: str, process: int) -> None:
    # A forked child has the object, not the directory.
    if os.getpid() == process:
        shutil.rmtree(directory, ignore_errors=True)


def _reopened(path: str, encoder: Optional[str], terms: Optional[List[str]]) -> Index:
    return Index.open(path, encoder=encoder, terms=terms)
