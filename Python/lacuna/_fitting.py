"""Tables, estimators and fits of the library, for the estimators of scikit-learn and for paths."""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Optional

import numpy as np

from ._library import Handle, InvalidArgumentError, ProgressFunction, Watch, address, array, check, library, plain, text
from .sparse import _compressed

#: Settings of an estimator that may be left as they are.
_OPTIONAL = {"factors", "folds", "groups", "lower", "mixing", "shape"}


def table(
    x: Any, target: np.ndarray, weights: Optional[np.ndarray] = None, folds: Optional[np.ndarray] = None
) -> Handle:
    """A table of a dense array or a sparse matrix. Whole columns of float64, one behind another, and compressed columns are read
    where they are; what lies otherwise is copied."""
    if hasattr(x, "tocsc"):
        if x.format not in ("csr", "csc"):
            x = x.tocsc()
        if not x.has_canonical_format:
            x = x.copy()
            x.sum_duplicates()
        starts, indices, values = _compressed(x, np.float64)
        handle = Handle(
            library.lacuna_table_sparse, int(x.format == "csr"), x.shape[0], x.shape[1], x.nnz, 8 * starts.itemsize,
            address(starts), 8 * indices.itemsize, address(indices), address(values), 1, kept=(starts, indices, values))
    else:
        x = np.asarray(x, dtype=np.float64)
        if not x.flags.aligned or any(stride % 8 for stride in x.strides):
            x = np.require(x, requirements=["F_CONTIGUOUS", "ALIGNED"])
        row, column = (stride // 8 for stride in x.strides)
        handle = Handle(
            library.lacuna_table_dense, address(x), x.shape[0], x.shape[1], row if x.shape[0] > 1 else 1,
            column if x.shape[1] > 1 else x.shape[0], 1, kept=x)
    for name, numbers in (("target", target), ("weights", weights), ("folds", folds)):
        if numbers is not None:
            numbers = plain(numbers, np.float64)
            check(library.lacuna_table_set(handle, name.encode(), address(numbers), numbers.size))
    return handle


def estimator(settings: Dict[str, Any]) -> Handle:
    """An estimator with these settings, by the names of lacuna.h; None leaves those as they are that may be left."""
    handle = Handle(library.lacuna_estimator_create)
    for name, value in settings.items():
        key = name.encode()
        if value is None:
            # The library would take its own choice for the caller's.
            if name not in _OPTIONAL:
                raise InvalidArgumentError(f"{name}: is None")
            continue
        if isinstance(value, str):
            check(library.lacuna_estimator_set_text(handle, key, text(value, name)))
        elif np.ndim(value) == 0:
            number = float(value)
            if np.isnan(number):
                raise InvalidArgumentError(f"{name}: is {value}, not a number")
            check(library.lacuna_estimator_set_number(handle, key, number))
        else:
            numbers = plain(value, np.float64)
            check(library.lacuna_estimator_set_numbers(handle, key, address(numbers), numbers.size))
    return handle


class Fit:
    """What an estimator found."""

    def __init__(self, handle: Handle):
        self._handle = handle

    def number(self, name: str) -> float:
        value = ctypes.c_double()
        check(library.lacuna_fit_number(self._handle, name.encode(), ctypes.byref(value)))
        return value.value

    def array(self, name: str) -> np.ndarray:
        # A copy: small, and free of the fit's memory.
        return array(library.lacuna_fit_array, self._handle, name.encode()).copy()

    def save(self, path: str) -> None:
        check(library.lacuna_fit_save(self._handle, text(path, "path")))


def fit(settings: Dict[str, Any], data: Handle, progress: Optional[ProgressFunction] = None) -> Fit:
    """Fits a table."""
    model, watch = estimator(settings), Watch(progress)
    return watch.run(lambda: Fit(Handle(library.lacuna_estimator_fit, model, data, watch.callback, None)))


def path(
    settings: Dict[str, Any], data: Handle, strengths: Optional[np.ndarray], progress: Optional[ProgressFunction] = None
) -> Fit:
    """Follows a path."""
    model, watch = estimator(settings), Watch(progress)
    numbers = None if strengths is None else plain(strengths, np.float64)
    place, count = (None, 0) if numbers is None else (address(numbers), numbers.size)
    return watch.run(
        lambda: Fit(Handle(library.lacuna_estimator_path, model, data, place, count, watch.callback, None)))


def intervals(data: Handle, coefficients: np.ndarray, intercept: float, columns: np.ndarray) -> np.ndarray:
    """Estimate, lower and upper end for some columns."""
    watch = Watch()
    numbers, places = plain(coefficients, np.float64), plain(columns, np.int64)
    return watch.run(
        lambda: array(
            library.lacuna_table_intervals, data, address(numbers), float(intercept), address(places), places.size,
            watch.callback, None)).reshape(-1, 3).copy()
