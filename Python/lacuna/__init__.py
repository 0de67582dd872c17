"""Lacuna: sparsity in machine learning, from Python.

- Sparse products: ``matmul``, ``masked_matmul``, ``sddmm``, ``spgemm``, ``SparseMatrix`` (with scipy).
- Sparse regression and classification: ``Lasso``, ``LogisticRegression``, ``GroupLasso`` … (with scikit-learn), also as
  ``lacuna.linear_model``.
- Search: ``Index.build``, ``Index.open``.
- Sparse autoencoders: ``SAE.load``.
- Language models on the CPU: ``LanguageModel.load``.

scipy and scikit-learn are imported when what needs them is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, List

from ._library import (
    CancelledError,
    FileError,
    InvalidArgumentError,
    LacunaError,
    NumericalError,
    ResourceError,
    UnsupportedError,
    set_threads,
    threads,
)
from ._version import __version__
from .dictionary import SAE
from .language import LanguageModel
from .retrieve import Hit, Index
from .sparse import SparseMatrix, masked_matmul, matmul, sddmm, spgemm

if TYPE_CHECKING:
    from .linear_model import (
        ElasticNet,
        ElasticNetCV,
        GroupLasso,
        GroupLassoCV,
        L0Regressor,
        L0RegressorCV,
        Lasso,
        LassoCV,
        LogisticRegression,
        LogisticRegressionCV,
        MCPRegressor,
        MCPRegressorCV,
        RegularizationPath,
        SCADRegressor,
        SCADRegressorCV,
        SparseGroupLasso,
        SparseGroupLassoCV,
        regularization_path,
    )

_ESTIMATORS = [
    "ElasticNet", "ElasticNetCV", "GroupLasso", "GroupLassoCV", "L0Regressor", "L0RegressorCV", "Lasso", "LassoCV",
    "LogisticRegression", "LogisticRegressionCV", "MCPRegressor", "MCPRegressorCV", "RegularizationPath", "SCADRegressor",
    "SCADRegressorCV", "SparseGroupLasso", "SparseGroupLassoCV", "regularization_path",
]

__all__ = [
    "CancelledError", "FileError", "Hit", "Index", "InvalidArgumentError", "LacunaError", "LanguageModel", "NumericalError",
    "ResourceError", "SAE", "SparseMatrix", "UnsupportedError", "__version__", "masked_matmul", "matmul", "sddmm", "set_threads", "spgemm", "threads",
] + _ESTIMATORS


def __getattr__(name: str) -> Any:
    if name in _ESTIMATORS:
        return getattr(import_module(".linear_model", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    return sorted(__all__)
