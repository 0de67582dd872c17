"""The library inside a Python process: Ctrl-C, forks, threads, callbacks, memory."""

import copy
import ctypes
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import scipy.sparse as sp

import lacuna
from lacuna import _library


def hard(rows=400, columns=8000, seed=0):
    """A fit that takes many seconds: nearly equal columns and next to no penalty."""
    generator = np.random.default_rng(seed)
    common = generator.normal(size=(rows, 1))
    x = np.asfortranarray(common + 0.01 * generator.normal(size=(rows, columns)))
    return x, generator.normal(size=rows)


def test_control_c_ends_a_fit():
    x, y = hard()
    # In the background of a shell the signal is ignored, and Python leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    began = time.monotonic()
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            lacuna.LassoCV(tol=1e-14, eps=1e-8, cv=20).fit(x, y)
            pytest.fail(f"the fit ended by itself after {time.monotonic() - began} s")
    finally:
        thread.join()
    assert time.monotonic() - began < 20
    # And everything works as before.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)
    assert lacuna.Lasso(0.1).fit(x[:, :20], y).converged_


@pytest.mark.parametrize("nested", [False, True])
def test_alarms_end_a_fit(nested):
    x, y = hard()

    def ring(number, frame):
        raise TimeoutError("too long")

    def fit(*_):
        lacuna.LassoCV(tol=1e-14, eps=1e-8, cv=20).fit(x, y)
        pytest.fail("the fit ended by itself")

    before = signal.signal(signal.SIGALRM, ring)
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(TimeoutError, match="too long"):
            if nested:
                # Work in a callback of other work.
                lacuna.regularization_path(x[:, :500], y, eps=1e-6, tol=1e-12, progress=fit)
            else:
                fit()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert time.monotonic() - began < 20
    assert signal.getsignal(signal.SIGALRM) is ring
    signal.signal(signal.SIGALRM, before)


def test_handlers_that_a_callback_sets_stay():
    x, y = hard(200, 500)
    before = signal.getsignal(signal.SIGUSR1)

    def first(number, frame):
        pass

    def second(number, frame):
        pass

    def progress(task, done, total):
        signal.signal(signal.SIGUSR1, second)
        return False

    signal.signal(signal.SIGUSR1, first)
    try:
        with pytest.raises(lacuna.CancelledError):
            lacuna.regularization_path(x, y, eps=1e-6, tol=1e-12, progress=progress)
        assert signal.getsignal(signal.SIGUSR1) is second
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_callbacks_end_work_with_what_they_raise():
    x, y = hard(200, 500)
    seen = []

    def progress(task, done, total):
        seen.append((task, done, total))
        if len(seen) == 3:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        lacuna.regularization_path(x, y, eps=1e-6, tol=1e-12, progress=progress)
    assert len(seen) == 3 and all(isinstance(task, str) for task, _, _ in seen)
    with pytest.raises(lacuna.CancelledError):
        lacuna.regularization_path(x, y, eps=1e-6, tol=1e-12, progress=lambda *_: False)


def test_false_of_numpy_is_false():
    for answer, ends in ((False, True), (np.False_, True), (None, False), (0, False), (True, False), (np.True_, False)):
        watch = _library.Watch(lambda *_: answer)
        assert (watch._step(None, b"task", 1, 2) == 1) is ends, answer


def work(seed):
    generator = np.random.default_rng(seed)
    a = sp.random(3000, 3000, density=0.01, format="csr", random_state=generator)
    b = generator.normal(size=(3000, 64))
    x, y = generator.normal(size=(200, 100)), generator.normal(size=200)
    return float(lacuna.matmul(a, b).sum()), float(lacuna.Lasso(0.05).fit(x, y).coef_.sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_with_an_idle_pool(method):
    expected = [work(seed) for seed in range(3)]  # starts the threads
    with multiprocessing.get_context(method).Pool(3) as pool:
        assert pool.map_async(work, range(3)).get(timeout=120) == expected
    assert work(0) == expected[0]


def test_python_threads():
    expected, found = work(5), [None] * 6

    def run(place):
        found[place] = work(5)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert found == [expected] * 6


def test_beside_numpy():
    generator = np.random.default_rng(7)
    dense = generator.normal(size=(600, 600))
    a = sp.random(2000, 2000, density=0.02, format="csr", random_state=generator)
    b = generator.normal(size=(2000, 64))
    product, square, stop, wrong = lacuna.matmul(a, b), dense @ dense, threading.Event(), []

    def numpy_works():
        while not stop.is_set():
            if not np.array_equal(dense @ dense, square):
                wrong.append("numpy")

    thread = threading.Thread(target=numpy_works)
    thread.start()
    try:
        for _ in range(40):
            np.testing.assert_array_equal(lacuna.matmul(a, b), product)
    finally:
        stop.set()
        thread.join()
    # Summation order of numpy's BLAS may depend on its threads; large errors may not.
    np.testing.assert_allclose(dense @ dense, square, atol=1e-9)
    assert len(wrong) == 0 or np.allclose(dense @ dense, square)


def test_objects_are_given_back():
    gc.collect()
    before = _library.library.lacuna_object_count()
    a = sp.random(100, 100, density=0.1, format="csr", random_state=np.random.default_rng(0))
    for _ in range(20):
        lacuna.spgemm(a, a)
        lacuna.Lasso(0.1).fit(a, np.arange(100.0))
        with pytest.raises(ValueError):
            lacuna.Lasso(-1).fit(a, np.arange(100.0))
    gc.collect()
    assert _library.library.lacuna_object_count() == before


def test_stale_and_wrong_handles_are_refused():
    table = _library.Handle(
        _library.library.lacuna_table_dense, _library.address(np.ones((2, 2))), 2, 2, 1, 2, 0)
    check, library = _library.check, _library.library
    with pytest.raises(ValueError, match="another kind"):
        check(library.lacuna_matrix_times_matrix(table, table, None))
    with pytest.raises(ValueError, match="is NULL"):
        check(library.lacuna_matrix_times_matrix(None, None, None))
    with pytest.raises(ValueError, match="no object"):
        check(library.lacuna_release(12345))
    with pytest.raises(ValueError, match="not at least 1"):
        check(library.lacuna_table_dense(None, -5, 2, 1, 2, 0, None))
    with pytest.raises(ValueError, match="values: is NULL"):
        check(library.lacuna_table_dense(None, 5, 2, 1, 5, 0, None))
    with pytest.raises(lacuna.LacunaError):
        check(library.lacuna_table_dense(None, 1 << 31, 1 << 31, 1, 1 << 31, 0, None))


def test_handles_are_of_one_process():
    table = _library.Handle(
        _library.library.lacuna_table_dense, _library.address(np.ones((2, 2))), 2, 2, 1, 2, 0)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="one process"):
            attempt(table)


def test_texts_are_utf_8(tmp_path):
    place = ctypes.c_void_p()
    with pytest.raises(ValueError, match="path: is not UTF-8"):
        _library.check(_library.library.lacuna_fit_load(b"caf\xe9.json", ctypes.byref(place)))
    names = (ctypes.c_char_p * 2)(b"a", b"\xff")
    rows = _library.Handle(
        _library.library.lacuna_matrix_csr, 1, 1, 2, 0, 64, _library.address(np.zeros(2, dtype=np.int64)), 64, None, None, 0)
    with pytest.raises(ValueError, match="terms: number 1 is not UTF-8"):
        _library.check(_library.library.lacuna_vectors_rows(rows, names, ctypes.byref(place)))
    # The name of a file that is no text, and a lone surrogate, are not exchanged for something else.
    for path in (os.fsdecode(b"caf\xe9"), b"caf\xe9", tmp_path / "\ud800"):
        with pytest.raises(ValueError, match="cannot be written in UTF-8"):
            lacuna.LanguageModel.load(path)
    with pytest.raises(lacuna.LacunaError, match="nowhere"):
        lacuna.LanguageModel.load(os.fsencode(tmp_path / "nowhere.gguf"))


def test_numbers_are_not_cut_off():
    for count in (0, -1, 1 << 32, (1 << 32) + 1, 1.5, float("inf")):
        with pytest.raises(ValueError, match="threads: is"):
            lacuna.set_threads(count)
    assert _library.whole(np.int64(7), "n") == 7 and _library.whole(1e3, "n") == 1000
    for number in (-1, 1 << 63, 0.5, "5"):
        with pytest.raises(ValueError, match="n: is"):
            _library.whole(number, "n")


def test_hostile_sizes_are_refused():
    check, library, place = _library.check, _library.library, ctypes.c_void_p()
    numbers = np.ones(8)
    whole, least = (1 << 32) - 2, -(1 << 62)
    for rows, columns, row_stride, column_stride, borrow in (
        (whole, whole, 1, whole, 1), (whole, whole, 1, whole, 0), (2, 2, least, 1, 0), (2, 2, 1, least, 1), (2, 2, 1 << 62, 1, 0),
    ):
        with pytest.raises(lacuna.LacunaError):
            check(library.lacuna_table_dense(
                _library.address(numbers), rows, columns, row_stride, column_stride, borrow, ctypes.byref(place)))
    with pytest.raises(ValueError, match="more than there can be"):
        check(library.lacuna_table_dense(_library.address(numbers), 1 << 60, 1, 1, 1, 0, ctypes.byref(place)))
    matrix = lacuna.SparseMatrix(sp.identity(4, format="csr"))
    odd = ctypes.c_void_p(numbers.ctypes.data + 1)
    for b, result in ((odd, _library.address(np.empty(4))), (_library.address(np.ones(4)), odd)):
        with pytest.raises(ValueError, match="no multiple of 8"):
            check(library.lacuna_matrix_times_dense(matrix._handle, 0, 1, b, 1, result, 1))


def test_nothing_needs_scipy_or_scikit_learn():
    program = textwrap.dedent(
        """
        import sys
        sys.modules["scipy"] = sys.modules["sklearn"] = None
        import lacuna
        print(lacuna.threads() > 0, lacuna.LanguageModel.__name__)
        """)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == ["True", "LanguageModel"], found.stderr


def test_products_without_memory_are_refused():
    program = textwrap.dedent(
        """
        import resource
        import numpy as np
        import scipy.sparse as sp
        import lacuna
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        wide = sp.csr_matrix((np.ones(1), np.array([7]), np.array([0, 1])), shape=(1, (1 << 31) - 2))
        try:
            lacuna.masked_matmul(sp.identity(1, format="csr"), wide, wide)
        except lacuna.ResourceError as error:
            print("refused:", error)
        """)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.stdout.startswith("refused: memory for a product"), found


def test_every_public_name_is_documented():
    for name in lacuna.__all__:
        thing = getattr(lacuna, name)
        assert name == "__version__" or thing.__doc__, name
        if isinstance(thing, type):
            for key, member in vars(thing).items():
                if not key.startswith("_") and callable(member) and not isinstance(member, type):
                    assert member.__doc__ or key in ("set_fit_request", "set_score_request"), f"{name}.{key}"
