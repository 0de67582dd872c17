"""Writes Tests/LacunaIOTests/Fixtures/tables: one matrix, value(i, j) = (3 i - 2 j) / 4 for 5 rows and 4 columns, in the
formats that NumPy, SciPy, scikit-learn and pandas write.

Needs: pip install numpy scipy scikit-learn pandas
"""

from pathlib import Path

import numpy as np
import pandas
import scipy.io
from scipy import sparse
from sklearn.datasets import dump_svmlight_file

OUT = Path(__file__).parent.parent / "Tests/LacunaIOTests/Fixtures/tables"
OUT.mkdir(parents=True, exist_ok=True)
a = np.array([[(3 * i - 2 * j) / 4 for j in range(4)] for i in range(5)])
y = np.array([1.0, -1, 1, 1, -1])
np.save(OUT / "rows.npy", a)
np.save(OUT / "columns.npy", np.asfortranarray(a))
np.save(OUT / "single.npy", a.astype(np.float32))
np.save(OUT / "big-endian.npy", a.astype(">f8"))
np.save(OUT / "integers.npy", (4 * a).astype(np.int64))
np.save(OUT / "small.npy", (4 * a).astype(np.int8))
np.save(OUT / "vector.npy", a[:, 1])
np.save(OUT / "cube.npy", np.zeros((2, 2, 2)))
np.save(OUT / "complex.npy", a.astype(complex))
np.savez(OUT / "both.npz", X=a, y=y)
np.savez_compressed(OUT / "compressed.npz", X=a)
large = np.fromfunction(lambda i, j: (7 * i + 3 * j) % 11 / 4, (300, 40))
np.savez_compressed(OUT / "compressed-large.npz", X=large, y=large[:, 0])
scipy.io.mmwrite(OUT / "sparse.mtx", sparse.coo_matrix(a))
scipy.io.mmwrite(OUT / "dense.mtx", a)
symmetric = a[:4] + a[:4].T
scipy.io.mmwrite(OUT / "symmetric.mtx", sparse.coo_matrix(symmetric), symmetry="symmetric")
scipy.io.mmwrite(OUT / "symmetric-dense.mtx", symmetric, symmetry="symmetric")
dump_svmlight_file(a, y, str(OUT / "one.svm"), zero_based=False)
dump_svmlight_file(a, y, str(OUT / "zero.svm"), zero_based=True, comment="with a comment")
pandas.DataFrame(a, columns=["a", "b, c", 'say "d"', "e\nf"]).assign(
    kind=["x", "y", None, "x", "z,z"], gap=[1, None, 3, 4, 5]).to_csv(OUT / "table.csv", index=False)

# Sparse matrices as scipy.sparse.save_npz writes them: entry i of 35 is i - 10.25 where i % 3 == 1, but for the third row.
dense = np.array([[i - 10.25 if i % 3 == 1 and i // 7 != 2 else 0 for i in range(7 * r, 7 * r + 7)] for r in range(5)])
csr = sparse.csr_matrix(dense)
for name in ["csr", "csc", "coo", "bsr"]:
    sparse.save_npz(OUT / f"{name}.npz", csr.asformat(name), compressed=False)
sparse.save_npz(OUT / "csr-packed.npz", csr, compressed=True)
unsorted = csr.copy()
for r in range(5):
    part = slice(unsorted.indptr[r], unsorted.indptr[r + 1])
    unsorted.indices[part] = unsorted.indices[part][::-1].copy()
    unsorted.data[part] = unsorted.data[part][::-1].copy()
unsorted.has_sorted_indices = False
sparse.save_npz(OUT / "csr-unsorted.npz", unsorted, compressed=False)
