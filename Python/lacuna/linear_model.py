"""Sparse regression and classification for scikit-learn, with a certificate for every fit.

The objectives are those of scikit-learn: ``(1 / 2n) ||y - X w - b||² + penalty(w)`` for numbers, and for classes what
``LogisticRegression`` minimises. Estimators take dense arrays and matrices of scipy.sparse, go into pipelines and grid searches,
and can be pickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from . import _fitting
from ._library import InvalidArgumentError, ProgressFunction

__all__ = [
    "ElasticNet",
    "ElasticNetCV",
    "GroupLasso",
    "GroupLassoCV",
    "L0Regressor",
    "L0RegressorCV",
    "Lasso",
    "LassoCV",
    "LogisticRegression",
    "LogisticRegressionCV",
    "MCPRegressor",
    "MCPRegressorCV",
    "RegularizationPath",
    "SCADRegressor",
    "SCADRegressorCV",
    "SparseGroupLasso",
    "SparseGroupLassoCV",
    "regularization_path",
]

Groups = Union[None, int, Sequence[int], Sequence[Sequence[int]]]


def _group_numbers(groups: Groups, columns: int) -> np.ndarray:
    """A number for each column: of runs of a length, of lists of columns, or as they are; each by itself for None."""
    if groups is None:
        return np.arange(columns, dtype=np.float64)
    if isinstance(groups, (int, np.integer)):
        if groups < 1:
            raise InvalidArgumentError(f"groups: runs of {groups} columns")
        return np.arange(columns) // int(groups)
    if len(groups) and np.ndim(groups[0]) == 1:
        numbers = np.full(columns, -1.0)
        for number, members in enumerate(groups):
            members = np.asarray(members, dtype=np.intp)
            if members.size and not (0 <= members.min() and members.max() < columns):
                raise InvalidArgumentError(f"groups: group {number} has a column that is not below {columns}")
            if (numbers[members] >= 0).any() or np.unique(members).size != members.size:
                raise InvalidArgumentError(f"groups: a column of group {number} is in two groups")
            numbers[members] = number
        if (numbers < 0).any():
            raise InvalidArgumentError(f"groups: column {int(np.argmax(numbers < 0))} is in no group")
        return numbers
    return np.asarray(groups, dtype=np.float64)


def _columns(features: Any, columns: int) -> np.ndarray:
    """The columns that are named, by their numbers or by a mask."""
    places = np.asarray(features)
    if places.dtype == np.bool_:
        if places.shape != (columns,):
            raise InvalidArgumentError(f"features: a mask of shape {places.shape} for {columns} columns")
        return np.flatnonzero(places)
    if places.size and (places.ndim != 1 or places.dtype.kind not in "iu"):
        raise InvalidArgumentError("features: a list of columns, by their numbers, or a mask is needed")
    return places.reshape(-1)


class _Linear(BaseEstimator):
    """What all estimators here have in common."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _settings(self, columns: int) -> Dict[str, Any]:
        """What the library is told, by the names of lacuna.h."""
        return {
            "intercept": float(bool(self.fit_intercept)),
            "standardize": float(bool(self.standardize)),
            "tolerance": self.tol,
        }

    def _rows(
        self, X: Any, y: Any, sample_weight: Any, numeric: bool
    ) -> Tuple[Any, np.ndarray, Optional[np.ndarray], Optional[np.ndarray]]:
        """Checked rows, targets, weights and folds; rows of weight 0 are left out."""
        cross_validated = hasattr(self, "cv")
        X, y = validate_data(
            self, X, y, accept_sparse=("csc", "csr"), dtype=np.float64, y_numeric=numeric,
            ensure_min_samples=2 if cross_validated else 1)
        if not numeric:
            check_classification_targets(y)
        folds = self._folds(X, y) if cross_validated else None
        if sample_weight is None:
            return X, y, None, folds
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if (weight > 0).all():
            return X, y, weight, folds
        kept = np.flatnonzero(weight > 0)
        return X[kept], y[kept], weight[kept], None if folds is None else folds[kept]

    def _folds(self, X: Any, y: np.ndarray) -> Optional[np.ndarray]:
        """The fold of each row by a splitter or by splits; None where the library makes them."""
        if isinstance(self.cv, (int, np.integer)):
            return None
        folds = np.full(y.shape[0], -1)
        for number, (_, held_out) in enumerate(check_cv(self.cv, y, classifier=is_classifier(self)).split(X, y)):
            if (folds[held_out] >= 0).any():
                raise InvalidArgumentError("cv: a row is left out by two splits")
            folds[held_out] = number
        if (folds < 0).any():
            raise InvalidArgumentError("cv: a row is left out by no split")
        return folds

    def _take(self, fit: _fitting.Fit) -> None:
        """Keeps what was found, as numpy arrays."""
        self.dual_gap_ = fit.number("gap")
        self.certificate_ = fit.number("certificate")
        self.objective_ = fit.number("objective")
        self.converged_ = bool(fit.number("converged"))
        self.n_iter_ = max(1, int(fit.number("passes")))
        if hasattr(self, "cv"):
            self.alpha_ = fit.number("strength")
            self.alphas_ = fit.array("strengths")
            outputs, columns = int(fit.number("outputs")), int(fit.number("columns"))
            coefficients = fit.array("path_coefficients").reshape(-1, outputs, columns)
            self.coef_path_ = coefficients[:, 0] if outputs == 1 else coefficients
            self.cv_loss_ = fit.array("validation_losses")
            self.cv_error_ = fit.array("validation_errors")

    @property
    def sparse_coef_(self) -> Any:
        """The coefficients as a sparse matrix of scipy."""
        import scipy.sparse

        check_is_fitted(self)
        return scipy.sparse.csr_matrix(self.coef_)


class _Regressor(RegressorMixin, _Linear):
    """Fits numbers."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fits the rows of ``X`` [n, p] to ``y`` [n].

        Raises
        ------
        ValueError
            For data that are not finite, and for parameters out of range.
        """
        X, y, weight, folds = self._rows(X, y, sample_weight, numeric=True)
        fit = _fitting.fit(self._settings(X.shape[1]), _fitting.table(X, y, weight, folds))
        self.coef_ = fit.array("coefficients")
        self.intercept_ = float(fit.array("intercepts")[0])
        self._take(fit)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicted numbers for the rows of ``X``."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=("csc", "csr"), reset=False)
        return safe_sparse_dot(X, self.coef_, dense_output=True) + self.intercept_

    def intervals(self, X: Any, y: Any, features: Optional[Sequence[int]] = None) -> np.ndarray:
        """95 % confidence intervals of the debiased lasso, of the rows that the model was fitted to.

        Parameters
        ----------
        features : columns to have intervals for, or a mask of these; by default those with a coefficient

        Returns
        -------
        Array [features, 3] of estimate, lower end and upper end; nan for constant columns.
        """
        check_is_fitted(self)
        if self._settings(self.n_features_in_)["penalty"] not in ("lasso", "elastic-net"):
            raise NotImplementedError("intervals are those of the lasso and the elastic net")
        if not self.fit_intercept:
            raise NotImplementedError("intervals of a fit without an intercept")
        X, y = validate_data(self, X, y, accept_sparse=("csc", "csr"), dtype=np.float64, y_numeric=True, reset=False)
        places = np.flatnonzero(self.coef_) if features is None else _columns(features, self.coef_.size)
        return _fitting.intervals(_fitting.table(X, y), self.coef_, self.intercept_, places)


class _Strength:
    """A strength that is given."""

    def _settings(self, columns: int) -> Dict[str, Any]:
        return {**super()._settings(columns), "strength": self.alpha}


class _Choice:
    """A strength that cross-validation chooses."""

    def _settings(self, columns: int) -> Dict[str, Any]:
        return {
            **super()._settings(columns),
            "count": self.n_alphas,
            "ratio": self.eps,
            "folds": self.cv if isinstance(self.cv, (int, np.integer)) else None,
            "rule": self.rule,
            "seed": self.random_state,
        }


_COMMON = """
    fit_intercept : bool, default True
    standardize : bool, default False
        Whether columns are penalised per standard deviation. Coefficients are always those of the columns as they are.
    tol : float, default 1e-7
        Bound of ``certificate_``.
"""

_CHOICE = """
    n_alphas : int, default 100
        Strengths on the path.
    eps : float, default 1e-2
        The smallest strength over the largest.
    cv : int, splitter or splits, default 5
        Folds, which ``random_state`` makes; or what leaves out every row once.
    rule : "min" or "1se"
        The strength of the smallest loss on rows left out, or the largest within one standard error of it.
    random_state : int, default 0
        Which row is in which fold.
"""

_FOUND = """
    Attributes
    ----------
    coef_, intercept_
    dual_gap_ : how much the objective may exceed the minimum; nan for a penalty that is not convex
    certificate_ : this, or else the distance to stationarity, relative; at most ``tol`` where ``converged_``
    objective_, converged_
    n_iter_ : passes over the data
"""

_CHOSEN = """
    alpha_, alphas_ : the chosen strength, and all of the path
    coef_path_ : coefficients at each strength
    cv_loss_, cv_error_ : mean loss on rows left out (half the squared error; for classes the logistic loss), its standard error
"""


def _documented(chosen: bool = False) -> Any:
    """Adds to a class's documentation what all of them have."""

    def add(cls: Any) -> Any:
        cls.__doc__ = cls.__doc__.rstrip() + (_CHOICE if chosen else "") + _COMMON + _FOUND + (_CHOSEN if chosen else "")
        return cls

    return add


class _LassoPenalty:
    def _settings(self, columns: int) -> Dict[str, Any]:
        return {
            **super()._settings(columns),
            "penalty": "lasso",
            "lower": 0.0 if self.positive else None,
            "factors": self.feature_weights,
        }


class _ElasticNetPenalty:
    def _settings(self, columns: int) -> Dict[str, Any]:
        return {
            **super()._settings(columns),
            "penalty": "elastic-net",
            "mixing": self.l1_ratio,
            "lower": 0.0 if self.positive else None,
            "factors": self.feature_weights,
        }


class _GroupPenalty:
    def _settings(self, columns: int) -> Dict[str, Any]:
        return {
            **super()._settings(columns),
            "penalty": "group-lasso",
            "mixing": getattr(self, "l1_ratio", None),
            "groups": _group_numbers(self.groups, columns),
        }


class _MCPPenalty:
    def _settings(self, columns: int) -> Dict[str, Any]:
        return {**super()._settings(columns), "penalty": "mcp", "shape": self.gamma}


class _SCADPenalty:
    def _settings(self, columns: int) -> Dict[str, Any]:
        return {**super()._settings(columns), "penalty": "scad", "shape": self.a}


class _L0Penalty:
    def _settings(self, columns: int) -> Dict[str, Any]:
        return {**super()._settings(columns), "penalty": "l0"}


@_documented()
class Lasso(_LassoPenalty, _Strength, _Regressor):
    """Least squares with the penalty ``alpha ||w||_1``.

    Parameters
    ----------
    alpha : float, default 1
    positive : bool, default False
        Coefficients of at least 0 alone.
    feature_weights : array [p], optional
        How much more each column is penalised; 0 for not at all.
    """

    def __init__(
        self, alpha: float = 1.0, *, fit_intercept: bool = True, standardize: bool = False, positive: bool = False,
        feature_weights: Any = None, tol: float = 1e-7,
    ):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.feature_weights = feature_weights
        self.tol = tol


@_documented(chosen=True)
class LassoCV(_LassoPenalty, _Choice, _Regressor):
    """A lasso whose strength cross-validation chooses.

    Parameters
    ----------
    positive, feature_weights : as of ``Lasso``
    """

    def __init__(
        self, *, n_alphas: int = 100, eps: float = 1e-2, cv: Any = 5, rule: str = "min", random_state: int = 0,
        fit_intercept: bool = True, standardize: bool = False, positive: bool = False, feature_weights: Any = None,
        tol: float = 1e-7,
    ):
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.feature_weights = feature_weights
        self.tol = tol


@_documented()
class ElasticNet(_ElasticNetPenalty, _Strength, _Regressor):
    """Least squares with the penalty ``alpha (l1_ratio ||w||_1 + (1 - l1_ratio) / 2 ||w||²)``.

    Parameters
    ----------
    alpha : float, default 1
    l1_ratio : float in 0...1, default 0.5
    positive : bool, default False
        Coefficients of at least 0 alone.
    feature_weights : array [p], optional
        How much more each column is penalised; 0 for not at all.
    """

    def __init__(
        self, alpha: float = 1.0, *, l1_ratio: float = 0.5, fit_intercept: bool = True, standardize: bool = False,
        positive: bool = False, feature_weights: Any = None, tol: float = 1e-7,
    ):
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.feature_weights = feature_weights
        self.tol = tol


@_documented(chosen=True)
class ElasticNetCV(_ElasticNetPenalty, _Choice, _Regressor):
    """An elastic net whose strength cross-validation chooses.

    Parameters
    ----------
    l1_ratio : float in 0...1, default 0.5
        The share of the L1 penalty for a target in units of its standard deviation, so that the choice does not depend on the
        unit; ``l1_ratio_`` is that for the target as it is: ``ElasticNet(alpha_, l1_ratio=l1_ratio_)`` is the same model.
    positive, feature_weights : as of ``ElasticNet``
    """

    def __init__(
        self, *, l1_ratio: float = 0.5, n_alphas: int = 100, eps: float = 1e-2, cv: Any = 5, rule: str = "min",
        random_state: int = 0, fit_intercept: bool = True, standardize: bool = False, positive: bool = False,
        feature_weights: Any = None, tol: float = 1e-7,
    ):
        self.l1_ratio = l1_ratio
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.feature_weights = feature_weights
        self.tol = tol

    def _take(self, fit: _fitting.Fit) -> None:
        super()._take(fit)
        self.l1_ratio_ = fit.number("mixing")


@_documented()
class GroupLasso(_GroupPenalty, _Strength, _Regressor):
    """Least squares with the penalty ``alpha sum_g sqrt(size of g) ||w_g||_2``: whole groups of columns are selected.

    Parameters
    ----------
    groups : int, array [p] or list of lists of columns, optional
        The length of runs of columns; a number for each column, equal ones in one group; or the columns of each group. Each
        column by itself by default.
    alpha : float, default 1
    """

    def __init__(
        self, groups: Groups = None, alpha: float = 1.0, *, fit_intercept: bool = True, standardize: bool = False,
        tol: float = 1e-7,
    ):
        self.groups = groups
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol


@_documented(chosen=True)
class GroupLassoCV(_GroupPenalty, _Choice, _Regressor):
    """A group lasso whose strength cross-validation chooses.

    Parameters
    ----------
    groups : as of ``GroupLasso``
    """

    def __init__(
        self, groups: Groups = None, *, n_alphas: int = 100, eps: float = 1e-2, cv: Any = 5, rule: str = "min",
        random_state: int = 0, fit_intercept: bool = True, standardize: bool = False, tol: float = 1e-7,
    ):
        self.groups = groups
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol


@_documented()
class SparseGroupLasso(_GroupPenalty, _Strength, _Regressor):
    """Least squares with the penalty ``alpha (l1_ratio ||w||_1 + (1 - l1_ratio) sum_g sqrt(size of g) ||w_g||_2)``: whole groups,
    and single columns within them.

    Parameters
    ----------
    groups : as of ``GroupLasso``
    alpha : float, default 1
    l1_ratio : float in 0...1, default 0.5
    """

    def __init__(
        self, groups: Groups = None, alpha: float = 1.0, *, l1_ratio: float = 0.5, fit_intercept: bool = True,
        standardize: bool = False, tol: float = 1e-7,
    ):
        self.groups = groups
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol


@_documented(chosen=True)
class SparseGroupLassoCV(_GroupPenalty, _Choice, _Regressor):
    """A sparse group lasso whose strength cross-validation chooses.

    Parameters
    ----------
    groups, l1_ratio : as of ``SparseGroupLasso``
    """

    def __init__(
        self, groups: Groups = None, *, l1_ratio: float = 0.5, n_alphas: int = 100, eps: float = 1e-2, cv: Any = 5,
        rule: str = "min", random_state: int = 0, fit_intercept: bool = True, standardize: bool = False,
        tol: float = 1e-7,
    ):
        self.groups = groups
        self.l1_ratio = l1_ratio
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol


@_documented()
class MCPRegressor(_MCPPenalty, _Strength, _Regressor):
    """Least squares with the minimax concave penalty: as the lasso for small coefficients, without shrinking large ones.

    Parameters
    ----------
    alpha : float, default 1
    gamma : float above 1, default 3
        How soon the penalty levels off.
    """

    def __init__(
        self, alpha: float = 1.0, *, gamma: float = 3.0, fit_intercept: bool = True, standardize: bool = False,
        tol: float = 1e-7,
    ):
        self.alpha = alpha
        self.gamma = gamma
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol


@_documented(chosen=True)
class MCPRegressorCV(_MCPPenalty, _Choice, _Regressor):
    """A regression with the minimax concave penalty whose strength cross-validation chooses.

    Parameters
    ----------
    gamma : as of ``MCPRegressor``
    """

    def __init__(
        self, *, gamma: float = 3.0, n_alphas: int = 100, eps: float = 1e-2, cv: Any = 5, rule: str = "min",
        random_state: int = 0, fit_intercept: bool = True, standardize: bool = False, tol: float = 1e-7,
    ):
        self.gamma = gamma
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol


@_documented()
class SCADRegressor(_SCADPenalty, _Strength, _Regressor):
    """Least squares with the smoothly clipped absolute deviation: as the lasso for small coefficients, without shrinking large
    ones.

    Parameters
    ----------
    alpha : float, default 1
    a : float above 2, default 3.7
        How soon the penalty levels off.
    """

    def __init__(
        self, alpha: float = 1.0, *, a: float = 3.7, fit_intercept: bool = True, standardize: bool = False,
        tol: float = 1e-7,
    ):
        self.alpha = alpha
        self.a = a
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol


@_documented(chosen=True)
class SCADRegressorCV(_SCADPenalty, _Choice, _Regressor):
    """A regression with the smoothly clipped absolute deviation whose strength cross-validation chooses.

    Parameters
    ----------
    a : as of ``SCADRegressor``
    """

    def __init__(
        self, *, a: float = 3.7, n_alphas: int = 100, eps: float = 1e-2, cv: Any = 5, rule: str = "min",
        random_state: int = 0, fit_intercept: bool = True, standardize: bool = False, tol: float = 1e-7,
    ):
        self.a = a
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol


@_documented()
class L0Regressor(_L0Penalty, _Strength, _Regressor):
    """Least squares with a price of ``alpha`` for every coefficient that is not 0. What is found is a local minimum: no single
    coefficient can be changed for the better.

    Parameters
    ----------
    alpha : float, default 1
    """

    def __init__(
        self, alpha: float = 1.0, *, fit_intercept: bool = True, standardize: bool = False, tol: float = 1e-7,
    ):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol


@_documented(chosen=True)
class L0RegressorCV(_L0Penalty, _Choice, _Regressor):
    """A regression with a price for every coefficient, which cross-validation chooses."""

    def __init__(
        self, *, n_alphas: int = 100, eps: float = 1e-2, cv: Any = 5, rule: str = "min", random_state: int = 0,
        fit_intercept: bool = True, standardize: bool = False, tol: float = 1e-7,
    ):
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol


class _Classifier(ClassifierMixin, _Linear):
    """Fits classes: two by the logistic loss, more by the logarithm of their probability."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fits the rows of ``X`` [n, p] to the classes ``y`` [n].

        Raises
        ------
        ValueError
            For data that are not finite, for a single class, and for parameters out of range.
        """
        X, y, weight, folds = self._rows(X, y, sample_weight, numeric=False)
        self.classes_, places = np.unique(y, return_inverse=True)
        if self.classes_.size < 2:
            raise InvalidArgumentError(f"y: all rows are of one class, {self.classes_[0]!r}; classes are told apart by two")
        settings = self._settings(X.shape[1])
        settings["family"] = "binomial" if self.classes_.size == 2 else "multinomial"
        if hasattr(self, "C"):
            if not self.C > 0:
                raise InvalidArgumentError(f"C: is {self.C}, not above 0")
            # scikit-learn's loss is a sum over the rows, Lacuna's a mean.
            settings["strength"] = 1 / (self.C * (X.shape[0] if weight is None else weight.sum()))
        fit = _fitting.fit(settings, _fitting.table(X, places.astype(np.float64), weight, folds))
        self.coef_ = fit.array("coefficients").reshape(-1, X.shape[1])
        self.intercept_ = fit.array("intercepts")
        self._take(fit)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Linear predictors: [n] for two classes, above 0 for the second; [n, classes] for more."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=("csc", "csr"), reset=False)
        scores = safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_
        return scores[:, 0] if self.classes_.size == 2 else scores

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes [n, classes]."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities."""
        return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]


@_documented()
class LogisticRegression(_ElasticNetPenalty, _Classifier):
    """Classes by an elastic net on the logistic loss; three and more by the multinomial one.

    Parameters
    ----------
    C : float, default 1
        Inverse of the strength of the penalty, as of scikit-learn: ``C * (sum of the losses) + penalty``.
    l1_ratio : float in 0...1, default 1
        The share of the L1 penalty; 1 is the lasso, 0 ridge.
    positive : bool, default False
        Coefficients of at least 0 alone.
    feature_weights : array [p], optional
        How much more each column is penalised; 0 for not at all.
    """

    def __init__(
        self, C: float = 1.0, *, l1_ratio: float = 1.0, fit_intercept: bool = True, standardize: bool = False,
        positive: bool = False, feature_weights: Any = None, tol: float = 1e-7,
    ):
        self.C = C
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.feature_weights = feature_weights
        self.tol = tol


@_documented(chosen=True)
class LogisticRegressionCV(_ElasticNetPenalty, _Choice, _Classifier):
    """Classes by an elastic net on the logistic loss, whose strength cross-validation chooses.

    Parameters
    ----------
    l1_ratio : float in 0...1, default 1
    measure : "loss", "errors" or, for two classes, "auc"
        What is measured on rows left out.
    positive, feature_weights : as of ``LogisticRegression``
    """

    def __init__(
        self, *, l1_ratio: float = 1.0, n_alphas: int = 100, eps: float = 1e-2, cv: Any = 5, rule: str = "min",
        measure: str = "loss", random_state: int = 0, fit_intercept: bool = True, standardize: bool = False,
        positive: bool = False, feature_weights: Any = None, tol: float = 1e-7,
    ):
        self.l1_ratio = l1_ratio
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.measure = measure
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.feature_weights = feature_weights
        self.tol = tol

    def _settings(self, columns: int) -> Dict[str, Any]:
        return {**super()._settings(columns), "measure": self.measure}


@dataclass(frozen=True)
class RegularizationPath:
    """Solutions over strengths."""

    #: Descending, [s].
    alphas: np.ndarray
    #: [s, p].
    coefs: np.ndarray
    #: [s].
    intercepts: np.ndarray
    #: How much each objective may exceed the minimum, [s]; nan for penalties that are not convex.
    dual_gaps: np.ndarray
    #: This, or else the distance to stationarity, relative, [s].
    certificates: np.ndarray
    #: Shares explained of what the best constant loses (R² for least squares), [s].
    explained: np.ndarray
    #: Whether each reached its tolerance, [s].
    converged: np.ndarray


def regularization_path(
    X: Any, y: Any, *, penalty: str = "lasso", family: str = "gaussian", alphas: Optional[Sequence[float]] = None,
    n_alphas: int = 100, eps: float = 1e-2, sample_weight: Optional[Sequence[float]] = None,
    fit_intercept: bool = True, standardize: bool = False, l1_ratio: Optional[float] = None, groups: Groups = None,
    gamma: Optional[float] = None, tol: float = 1e-7, progress: Optional[ProgressFunction] = None,
) -> RegularizationPath:
    """Follows a penalty's strength from where nothing is selected, each fit starting from the one before.

    Parameters
    ----------
    penalty : lasso, elastic-net, ridge, group-lasso, mcp, scad or l0
    family : gaussian for numbers, binomial for classes 0 and 1
    alphas : strengths of your own, descending; else ``n_alphas`` from the largest that matters to ``eps`` times it
    l1_ratio : of the elastic net and the group lasso
    groups : of the group lasso: see ``GroupLasso``
    gamma : the shape of MCP and SCAD
    progress : called with a task, the units done and their total
    """
    from sklearn.utils import check_X_y

    X, y = check_X_y(X, y, accept_sparse=("csc", "csr"), dtype=np.float64, y_numeric=True)
    settings = {
        "penalty": penalty,
        "family": family,
        "count": n_alphas,
        "ratio": eps,
        "intercept": float(bool(fit_intercept)),
        "standardize": float(bool(standardize)),
        "mixing": l1_ratio,
        "shape": gamma,
        "groups": _group_numbers(groups, X.shape[1]) if penalty == "group-lasso" or groups is not None else None,
        "tolerance": tol,
    }
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    fit = _fitting.path(
        settings, _fitting.table(X, y, weight), None if alphas is None else np.asarray(alphas, dtype=np.float64),
        progress)
    return RegularizationPath(
        alphas=fit.array("strengths"),
        coefs=fit.array("path_coefficients").reshape(-1, X.shape[1]),
        intercepts=fit.array("path_intercepts"),
        dual_gaps=fit.array("path_gaps"),
        certificates=fit.array("path_certificates"),
        explained=fit.array("path_explained"),
        converged=fit.array("path_converged") != 0,
    )
