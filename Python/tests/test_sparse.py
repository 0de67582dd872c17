"""Sparse products against dense ones."""

import numpy as np
import pytest
import scipy.sparse as sp

import lacuna


def matrix(rows, columns, density, seed, dtype=np.float64, fmt="csr", kind=sp.random):
    generator = np.random.default_rng(seed)
    return kind(rows, columns, density=density, format=fmt, random_state=generator, dtype=np.float64).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fmt", ["csr", "csc", "coo"])
@pytest.mark.parametrize("shape", [(37, 23), (1, 50), (50, 1), (300, 200)])
def test_matmul_with_dense(dtype, fmt, shape):
    a = matrix(*shape, 0.2, 1, dtype, fmt)
    generator = np.random.default_rng(2)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for width in (None, 1, 5, 64, 77):
        right = generator.normal(size=(shape[1],) if width is None else (shape[1], width)).astype(dtype)
        found = lacuna.matmul(a, right)
        assert found.dtype == dtype and found.shape == (a @ right).shape
        np.testing.assert_allclose(found, a.toarray() @ right, rtol=tolerance, atol=tolerance)
        left = generator.normal(size=(shape[0],) if width is None else (width, shape[0])).astype(dtype)
        np.testing.assert_allclose(lacuna.matmul(left, a), left @ a.toarray(), rtol=tolerance, atol=tolerance)
        held = lacuna.SparseMatrix(a)
        np.testing.assert_array_equal(held @ right, found)
        np.testing.assert_allclose(left @ held, left @ a.toarray(), rtol=tolerance, atol=tolerance)


def test_dense_strides_are_followed():
    a = matrix(40, 30, 0.3, 3)
    b = np.random.default_rng(4).normal(size=(60, 20))
    for dense in (b[::2, :7], b[:30, ::2], b[:30][::-1], np.asfortranarray(b[:30]), b[:30].astype(np.float32)):
        np.testing.assert_allclose(lacuna.matmul(a, dense), a.toarray() @ dense, atol=1e-12)
    # One number repeated by a stride of 0.
    np.testing.assert_allclose(lacuna.matmul(a, np.broadcast_to(2.0, (30, 4))), a.toarray() @ np.full((30, 4), 2.0))


def test_64_bit_indices_and_large_starts():
    a = matrix(50, 40, 0.2, 5)
    wide = a.copy()
    wide.indices, wide.indptr = a.indices.astype(np.int64), a.indptr.astype(np.int64)
    x = np.arange(40.0)
    np.testing.assert_array_equal(lacuna.matmul(wide, x), lacuna.matmul(a, x))


def test_empty_shapes():
    for rows, columns in ((0, 5), (5, 0), (0, 0), (4, 3)):
        a = sp.csr_matrix((rows, columns))
        np.testing.assert_array_equal(lacuna.matmul(a, np.ones(columns)), np.zeros(rows))
        np.testing.assert_array_equal(lacuna.matmul(a, np.ones((columns, 2))), np.zeros((rows, 2)))
        np.testing.assert_array_equal(lacuna.matmul(a, np.ones((columns, 0))), np.zeros((rows, 0)))
        assert lacuna.spgemm(a, sp.csr_matrix((columns, 2))).shape == (rows, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_spgemm_and_masks(dtype):
    a, b, mask = matrix(60, 50, 0.1, 6, dtype), matrix(50, 70, 0.1, 7, dtype), matrix(60, 70, 0.05, 8, dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    dense = a.toarray() @ b.toarray()
    found = lacuna.spgemm(a, b)
    assert found.dtype == dtype and sp.issparse(found) and found.has_sorted_indices
    np.testing.assert_allclose(found.toarray(), dense, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(lacuna.matmul(a, b.tocsc()).toarray(), dense, rtol=tolerance, atol=tolerance)
    at = lacuna.masked_matmul(a, b, mask)
    np.testing.assert_array_equal(at.indices, mask.indices)
    np.testing.assert_allclose(at.toarray(), np.where(mask.toarray() != 0, dense, 0), rtol=tolerance, atol=tolerance)
    other = lacuna.masked_matmul(a, b, mask, complemented=True)
    np.testing.assert_allclose(other.toarray(), np.where(mask.toarray() != 0, 0, dense), rtol=tolerance, atol=tolerance)
    generator = np.random.default_rng(9)
    left, right = generator.normal(size=(60, 11)).astype(dtype), generator.normal(size=(70, 11)).astype(dtype)
    sampled = lacuna.sddmm(mask, left, right)
    np.testing.assert_array_equal(sampled.indices, mask.indices)
    np.testing.assert_allclose(
        sampled.toarray(), np.where(mask.toarray() != 0, left @ right.T, 0), rtol=10 * tolerance, atol=10 * tolerance)


def test_results_outlive_what_made_them():
    a = lacuna.SparseMatrix(matrix(30, 30, 0.2, 10))
    square = lacuna.spgemm(a, a)
    expected = square.toarray()
    back = a.to_scipy()
    values = back.toarray()
    del a
    import gc

    gc.collect()
    np.random.default_rng(0).normal(size=100_000)
    np.testing.assert_array_equal(square.toarray(), expected)
    np.testing.assert_array_equal(back.toarray(), values)


@pytest.mark.parametrize("fmt", ["csr", "csc", "coo"])
def test_results_at_a_mask_outlive_it(fmt):
    a, b, mask = matrix(300, 200, 0.1, 20), matrix(200, 400, 0.1, 21), matrix(300, 400, 0.2, 22)
    generator = np.random.default_rng(23)
    left, right = generator.normal(size=(300, 5)), generator.normal(size=(400, 5))
    nothing = np.zeros((300, 0)), np.zeros((400, 0))
    places = mask.copy().asformat(fmt)
    found = [
        lacuna.masked_matmul(a, b, places), lacuna.sddmm(places, left, right), lacuna.sddmm(places, nothing[0], nothing[1])]
    kept = mask.toarray() != 0
    expected = [np.where(kept, a.toarray() @ b.toarray(), 0), np.where(kept, left @ right.T, 0), np.zeros(mask.shape)]
    if fmt == "csr":
        # What was lent is the caller's again.
        assert not any(np.shares_memory(one.indices, places.indices) for one in found)
        places.indices[:] = 0
    del places
    generator.normal(size=100_000)
    for one, wanted in zip(found, expected):
        np.testing.assert_array_equal(one.indices, mask.indices)
        np.testing.assert_allclose(one.toarray(), wanted, atol=1e-12)


def unaligned(values):
    """The same numbers at an odd address."""
    place = np.empty(values.nbytes + 16, dtype=np.uint8)
    start = 1 + -place.ctypes.data % 8
    result = place[start:start + values.nbytes].view(values.dtype).reshape(values.shape)
    result[...] = values
    assert not result.flags.aligned
    return result


def test_any_bytes_of_numbers():
    a = matrix(40, 30, 0.3, 24)
    b = np.random.default_rng(25).normal(size=(30, 6))
    expected = a.toarray() @ b
    for dense in (unaligned(b), unaligned(b)[:, ::2], unaligned(b.astype(np.float32)), b.astype(">f8"), b.astype(np.float16)):
        wide = dense.astype(np.float64)
        np.testing.assert_allclose(lacuna.matmul(a, dense), a.toarray() @ wide, atol=1e-12)
        np.testing.assert_allclose(lacuna.matmul(dense.T, a.T), (a.toarray() @ wide).T, atol=1e-12)
    other = a.copy()
    other.has_canonical_format = True
    for data, indices, starts in (
        (unaligned(a.data), unaligned(a.indices), unaligned(a.indptr)),
        (a.data.astype(">f8"), a.indices.astype(">i4"), a.indptr.astype(">i8")),
        (a.data, a.indices.astype(np.uint16), a.indptr.astype(np.uint64)),
    ):
        other.data, other.indices, other.indptr = data, indices, starts
        np.testing.assert_allclose(lacuna.matmul(other, b), expected, atol=1e-12)
    left, right = unaligned(np.ones((40, 3))), np.ones((30, 3), dtype=">f8")
    np.testing.assert_allclose(lacuna.sddmm(a, left, right).data, 3)


def test_columns_beyond_31_bits():
    wide = sp.csr_matrix((np.array([1.0, 2.0]), np.array([5, 2_999_999_999]), np.array([0, 2])), shape=(1, 3_000_000_000))
    back = lacuna.SparseMatrix(wide).to_scipy()
    np.testing.assert_array_equal(back.indices, [5, 2_999_999_999])
    assert back.shape == wide.shape and back[0, 2_999_999_999] == 2


def test_arrays_of_scipy_stay_arrays():
    a = sp.csr_array(matrix(5, 5, 0.5, 11))
    assert isinstance(lacuna.spgemm(a, a), sp.sparray)
    assert not isinstance(lacuna.spgemm(sp.csr_matrix(a), a), sp.sparray)


def test_nothing_is_copied_of_32_bit_rows():
    a = matrix(400, 300, 0.2, 12)
    held = lacuna.SparseMatrix(a)
    x = np.ones(300)
    before = held @ x
    a.data *= 2
    np.testing.assert_array_equal(held @ x, 2 * before)


def test_duplicates_and_order():
    a = sp.csr_matrix((np.array([1.0, 2, 3]), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 3))
    np.testing.assert_array_equal(lacuna.matmul(a, np.array([1.0, 10, 100])), [402])
    np.testing.assert_array_equal(a.indices, [2, 0, 2])


def test_refusals():
    a = matrix(6, 5, 0.5, 13)
    with pytest.raises(ValueError, match="do not fit"):
        lacuna.matmul(a, np.ones(6))
    with pytest.raises(ValueError, match="do not fit"):
        lacuna.matmul(a, np.ones((5, 2, 2)))
    with pytest.raises(lacuna.InvalidArgumentError, match="does not fit"):
        lacuna.spgemm(a, a)
    with pytest.raises(ValueError):
        lacuna.sddmm(a, np.ones((6, 2)), np.ones((5, 3)))
    with pytest.raises(TypeError):
        lacuna.matmul(np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(TypeError, match="complex"):
        lacuna.matmul(a, np.ones(5, dtype=complex))
    with pytest.raises(TypeError, match="complex"):
        lacuna.SparseMatrix(a.astype(complex), dtype=np.float64)
    if hasattr(sp, "coo_array") and sp.coo_array(np.eye(2)[0]).ndim == 1:
        with pytest.raises(ValueError, match=r"of shape \(2,\)"):
            lacuna.SparseMatrix(sp.coo_array(np.eye(2)[0]))
    # Arrays that contradict each other, which scipy does not look at.
    for indices, starts, message in (
        ([0, 9], [0, 1, 2], "ascend"), ([0, -1], [0, 1, 2], "ascend"), ([0, 1], [0, 3, 2], "row 1 ends before"),
    ):
        bad = sp.csr_matrix(([1.0, 2.0], [0, 1], [0, 1, 2]), shape=(2, 2))
        bad.has_canonical_format = True
        bad.indices, bad.indptr = np.array(indices, dtype=np.int32), np.array(starts, dtype=np.int32)
        with pytest.raises(lacuna.InvalidArgumentError, match=message):
            lacuna.matmul(bad, np.ones(2))


def test_random_pickle():
    import pickle

    held = lacuna.SparseMatrix(matrix(20, 10, 0.3, 14, fmt="csc"))
    again = pickle.loads(pickle.dumps(held))
    np.testing.assert_array_equal(again @ np.ones(10), held @ np.ones(10))


def test_threads_do_not_change_results():
    a, x = matrix(2000, 1500, 0.05, 15), np.random.default_rng(16).normal(size=(1500, 40))
    number = lacuna.threads()
    try:
        found = []
        for count in (1, 2, 5):
            lacuna.set_threads(count)
            found.append((lacuna.matmul(a, x), lacuna.spgemm(a, a.T).data.copy()))
        for dense, values in found[1:]:
            np.testing.assert_array_equal(dense, found[0][0])
            np.testing.assert_array_equal(values, found[0][1])
    finally:
        lacuna.set_threads(number)
    with pytest.raises(ValueError):
        lacuna.set_threads(0)
