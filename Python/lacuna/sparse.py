"""Sparse products. Matrices of scipy.sparse are read where they are.

``matmul``, ``masked_matmul``, ``sddmm`` and ``spgemm`` take them as they come; a ``SparseMatrix`` holds one that is multiplied
often, so that it is looked through once.
"""

from __future__ import annotations

import ctypes
from typing import Any, Optional, Tuple, Union

import numpy as np

from ._library import Handle, InvalidArgumentError, address, check, library, plain, view

__all__ = ["SparseMatrix", "matmul", "masked_matmul", "sddmm", "spgemm"]

_KINDS = {np.dtype(np.float32): 0, np.dtype(np.float64): 1}


def _is_sparse(value: Any) -> bool:
    return hasattr(value, "tocsr") and hasattr(value, "nnz") and not isinstance(value, SparseMatrix)


def _dtype(*values: Any) -> np.dtype:
    """float32 where every number is of this type, else float64."""
    kinds = [np.dtype(value.dtype) for value in values]
    for kind in kinds:
        if kind.kind not in "biuf" or kind.itemsize > 8:
            raise TypeError(f"numbers of type {kind}; Lacuna multiplies float32 and float64")
    return np.dtype(np.float32 if all(kind == np.float32 for kind in kinds) else np.float64)


def _compressed(matrix: Any, kind: Any) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, indices and values of compressed rows or columns of scipy's, as the library reads them: where they are, if they
    are of 32 or 64 bits and of this type."""
    def integers(values: np.ndarray) -> np.ndarray:
        return plain(values, values.dtype if values.dtype in (np.int32, np.int64) else np.int64)

    count = int(matrix.nnz)
    return integers(matrix.indptr), integers(matrix.indices[:count]), plain(matrix.data[:count], kind)


class SparseMatrix:
    """A sparse matrix of float32 or float64, held for many products.

    Of a CSR or CSC matrix with 32-bit indices and values of its type nothing is copied but the starts of its rows: it must not be
    changed meanwhile.
    ``A @ B`` is the product with a vector, a dense matrix or a sparse one.

    Parameters
    ----------
    matrix : sparse matrix or array of scipy
    dtype : float32 or float64, optional
        By default float32 for a matrix of float32, else float64.
    """

    def __init__(self, matrix: Any, dtype: Optional[Any] = None):
        if isinstance(matrix, SparseMatrix):
            matrix = matrix.to_scipy()
        if not _is_sparse(matrix):
            raise TypeError(f"a sparse matrix of scipy is needed, not {type(matrix).__name__}")
        if len(matrix.shape) != 2:
            raise InvalidArgumentError(f"a matrix [rows, columns] is needed, not one of shape {matrix.shape}")
        wanted = _dtype(matrix) if dtype is None else np.dtype(dtype)
        if wanted not in _KINDS:
            raise TypeError(f"numbers of type {wanted}; Lacuna multiplies float32 and float64")
        if matrix.format not in ("csr", "csc"):
            matrix = matrix.tocsr()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        self.shape: Tuple[int, int] = tuple(matrix.shape)
        self.dtype = wanted
        self.nnz = int(matrix.nnz)
        self._is_array = "array" in type(matrix).__name__
        # Compressed columns are the compressed rows of the transpose.
        self._transposed = matrix.format == "csc"
        starts, indices, values = _compressed(matrix, wanted)
        rows, columns = self.shape[::-1] if self._transposed else self.shape
        self._handle = Handle(
            library.lacuna_matrix_csr, _KINDS[wanted], rows, columns, self.nnz, 8 * starts.itemsize, address(starts),
            8 * indices.itemsize, address(indices), address(values), 1, kept=(starts, indices, values))

    @classmethod
    def _owning(cls, handle: Handle, is_array: bool) -> "SparseMatrix":
        """A result of the library's."""
        self = cls.__new__(cls)
        kind, rows, columns, count = ctypes.c_int32(), ctypes.c_int64(), ctypes.c_int64(), ctypes.c_int64()
        check(library.lacuna_matrix_view(
            handle, ctypes.byref(kind), ctypes.byref(rows), ctypes.byref(columns), ctypes.byref(count), None, None, None))
        self.shape, self.nnz = (rows.value, columns.value), count.value
        self.dtype = np.dtype(np.float64 if kind.value else np.float32)
        self._handle, self._transposed, self._is_array = handle, False, is_array
        return self

    def __repr__(self) -> str:
        return f"SparseMatrix({self.shape[0]} x {self.shape[1]}, {self.nnz} stored, {self.dtype})"

    def __reduce__(self) -> Any:
        return SparseMatrix, (self.to_scipy(),)

    def to_scipy(self) -> Any:
        """The matrix for scipy: CSR, or CSC if it was made of one. Indices and values are shared with this one."""
        import scipy.sparse

        starts, indices, values = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        check(library.lacuna_matrix_view(
            self._handle, None, None, None, None, ctypes.byref(starts), ctypes.byref(indices), ctypes.byref(values)))
        kind = ctypes.c_double if self.dtype == np.float64 else ctypes.c_float
        rows = self.shape[1] if self._transposed else self.shape[0]
        data = view(self._handle, values.value, kind, self.nnz)
        columns = view(self._handle, indices.value, ctypes.c_uint32, self.nnz)
        indptr = view(self._handle, starts.value, ctypes.c_int64, rows + 1)
        # The library's columns have all 32 bits.
        small = max(self.shape) <= np.iinfo(np.int32).max
        columns = columns.view(np.int32) if small else columns.astype(np.int64)
        indptr = indptr.astype(np.int32) if small else indptr
        names = ("csr_array", "csc_array") if self._is_array else ("csr_matrix", "csc_matrix")
        result = getattr(scipy.sparse, names[self._transposed])((data, columns, indptr), shape=self.shape)
        result.has_canonical_format = True
        return result

    def __matmul__(self, other: Any) -> Any:
        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return matmul(other, self)

    # numpy leaves `array @ matrix` to __rmatmul__.
    __array_ufunc__ = None

    def _times(self, dense: np.ndarray, transposed: bool) -> np.ndarray:
        """A B or Aᵀ B of a dense B with one or two dimensions."""
        inner, outer = (self.shape[0], self.shape[1]) if transposed else (self.shape[1], self.shape[0])
        if dense.ndim not in (1, 2) or dense.shape[0] != inner:
            raise InvalidArgumentError(f"shapes {(outer, inner)} and {dense.shape} do not fit")
        if not dense.flags.aligned:
            dense = np.require(dense, requirements=["ALIGNED"])
        dense = dense.astype(self.dtype, copy=False)
        n = 1 if dense.ndim == 1 else dense.shape[1]
        # Rows may be apart; the numbers of a row may not.
        step = dense.strides[0] // dense.itemsize
        if dense.size and (dense.strides[-1] != dense.itemsize or dense.strides[0] % dense.itemsize or step < n):
            dense = plain(dense, self.dtype)
        leading = n if dense.ndim == 1 or dense.shape[0] <= 1 else dense.strides[0] // dense.itemsize
        result = np.empty((outer,) if dense.ndim == 1 else (outer, n), dtype=self.dtype)
        check(library.lacuna_matrix_times_dense(
            self._handle, int(transposed != self._transposed), n, address(dense), max(leading, n), address(result),
            n))
        return result


def _rows(matrix: Any, dtype: np.dtype) -> SparseMatrix:
    """A matrix in compressed rows and of this type."""
    if isinstance(matrix, SparseMatrix):
        if matrix.dtype == dtype and not matrix._transposed:
            return matrix
        matrix = matrix.to_scipy()
    if not _is_sparse(matrix):
        raise TypeError(f"a sparse matrix is needed, not {type(matrix).__name__}")
    return SparseMatrix(matrix.tocsr(), dtype=dtype)


def _result(handle: Handle, *inputs: Any) -> Any:
    """A sparse result, as scipy has it; an array of scipy if the first input is one."""
    first = inputs[0]
    is_array = first._is_array if isinstance(first, SparseMatrix) else "array" in type(first).__name__
    return SparseMatrix._owning(handle, is_array).to_scipy()


def matmul(a: Any, b: Any) -> Union[np.ndarray, Any]:
    """The product of a sparse matrix with a vector, a dense matrix or a sparse one, on either side.

    Parameters
    ----------
    a, b : sparse matrix of scipy, SparseMatrix, or array
        At least one of them sparse. float32 where both are, else float64.

    Returns
    -------
    A dense array, or for two sparse matrices a sparse one: see ``spgemm``.
    """
    sparse_a = isinstance(a, SparseMatrix) or _is_sparse(a)
    sparse_b = isinstance(b, SparseMatrix) or _is_sparse(b)
    if sparse_a and sparse_b:
        return spgemm(a, b)
    if not sparse_a and not sparse_b:
        raise TypeError("neither of the two is a sparse matrix")
    matrix, dense = (a, np.asarray(b)) if sparse_a else (b, np.asarray(a))
    kind = _dtype(matrix, dense)
    if not isinstance(matrix, SparseMatrix) or matrix.dtype != kind:
        matrix = SparseMatrix(matrix, dtype=kind)
    if sparse_a:
        return matrix._times(dense, transposed=False)
    # x A = (Aᵀ xᵀ)ᵀ
    return matrix._times(dense.T, transposed=True).T


def spgemm(a: Any, b: Any) -> Any:
    """The product of two sparse matrices, in compressed rows with columns ascending. Entries whose terms cancel are kept as
    zeros."""
    kind = _dtype(a, b)
    left, right = _rows(a, kind), _rows(b, kind)
    return _result(Handle(library.lacuna_matrix_times_matrix, left._handle, right._handle), a)


def masked_matmul(a: Any, b: Any, mask: Any, complemented: bool = False) -> Any:
    """The entries of the sparse product ``a @ b`` at the places that ``mask`` stores, and no others: what counting triangles or
    attention needs.

    Parameters
    ----------
    mask : sparse matrix
        Its values do not matter. Places without a term hold 0.
    complemented : bool
        The places that the mask does not store instead.
    """
    kind = _dtype(a, b)
    left, right, places = _rows(a, kind), _rows(b, kind), _rows(mask, _dtype(mask))
    return _result(
        Handle(
            library.lacuna_matrix_times_matrix_at, left._handle, right._handle, places._handle, int(bool(complemented))),
        a)


def sddmm(mask: Any, left: Any, right: Any) -> Any:
    """The sampled product of dense matrices: ``sum_k left[i, k] * right[j, k]`` at the places (i, j) that ``mask`` stores.

    Parameters
    ----------
    mask : sparse matrix [m, n]
        Its values do not matter.
    left : array [m, k]
    right : array [n, k]
    """
    left, right = np.asarray(left), np.asarray(right)
    kind = _dtype(left, right)
    places = _rows(mask, kind)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1] \
            or (left.shape[0], right.shape[0]) != places.shape:
        raise InvalidArgumentError(f"shapes {left.shape} and {right.shape} do not fit a mask {places.shape}")
    left, right = plain(left, kind), plain(right, kind)
    return _result(
        Handle(library.lacuna_matrix_sampled, places._handle, address(left), address(right), left.shape[1]), mask)
