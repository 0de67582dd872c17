"""Estimators: scikit-learn's own checks, closed forms, scikit-learn's optima."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lacuna
from lacuna import _fitting

ESTIMATORS = [
    lacuna.Lasso(), lacuna.LassoCV(), lacuna.ElasticNet(), lacuna.ElasticNetCV(), lacuna.GroupLasso(), lacuna.GroupLassoCV(),
    lacuna.SparseGroupLasso(), lacuna.SparseGroupLassoCV(), lacuna.MCPRegressor(), lacuna.MCPRegressorCV(),
    lacuna.SCADRegressor(), lacuna.SCADRegressorCV(), lacuna.L0Regressor(), lacuna.L0RegressorCV(),
    lacuna.LogisticRegression(), lacuna.LogisticRegressionCV(),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn(estimator, check):
    # Seven equal digits of two fits need more than the default tolerance, as they do of scikit-learn's own.
    if "sample_weight_equivalence" in str(check):
        estimator.set_params(tol=1e-12)
        if isinstance(estimator, lacuna.LogisticRegressionCV):
            estimator.set_params(n_alphas=5, eps=0.1)
    check(estimator)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(120, 40)) * generator.uniform(0.5, 2, size=40) + generator.normal(size=40)
    truth = np.zeros(40)
    truth[[3, 8, 20]] = 2, -3, 1
    return x, x @ truth + generator.normal(size=120), truth


def test_lasso_is_scikit_learns(data):
    x, y, _ = data
    for alpha in (0.01, 0.3):
        theirs = sklearn.linear_model.Lasso(alpha=alpha, tol=1e-12, max_iter=1_000_000).fit(x, y)
        for form in (x, np.asfortranarray(x), sp.csr_matrix(x), sp.csc_matrix(x), x[::-1][::-1]):
            ours = lacuna.Lasso(alpha=alpha, tol=1e-12).fit(form, y)
            np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-7)
            np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-7)
            assert 0 <= ours.dual_gap_ < 1e-8 and ours.converged_
    objective = ((y - theirs.predict(x)) ** 2).mean() / 2 + alpha * np.abs(theirs.coef_).sum()
    assert ours.objective_ == pytest.approx(objective, rel=1e-9)


def test_elastic_net_and_logistic_are_scikit_learns(data):
    x, y, _ = data
    theirs = sklearn.linear_model.ElasticNet(alpha=0.2, l1_ratio=0.3, tol=1e-12, max_iter=1_000_000).fit(x, y)
    np.testing.assert_allclose(lacuna.ElasticNet(0.2, l1_ratio=0.3, tol=1e-12).fit(x, y).coef_, theirs.coef_, atol=1e-7)
    positive = sklearn.linear_model.Lasso(alpha=0.1, positive=True, tol=1e-12, max_iter=1_000_000).fit(x, y)
    np.testing.assert_allclose(lacuna.Lasso(0.1, positive=True, tol=1e-12).fit(x, y).coef_, positive.coef_, atol=1e-6)
    classes = np.where(y > np.median(y), "high", "low")
    z = StandardScaler().fit_transform(x)
    ours = lacuna.LogisticRegression(C=0.3, tol=1e-12).fit(z, classes)
    # Stationarity of C sum(loss) + |w|_1 instead of a solver's answer.
    residual = ours.predict_proba(z)[:, 1] - (classes == ours.classes_[1])
    gradient = 0.3 * z.T @ residual
    assert abs(residual.sum()) < 1e-6
    active = ours.coef_[0] != 0
    assert 0 < active.sum() < 40
    np.testing.assert_allclose(gradient[active], -np.sign(ours.coef_[0][active]), atol=1e-5)
    assert np.abs(gradient[~active]).max() <= 1 + 1e-6


def test_multinomial_gradient(data):
    x, y, _ = data
    z = StandardScaler().fit_transform(x)
    classes = np.digitize(y, np.quantile(y, [0.3, 0.6]))
    ours = lacuna.LogisticRegression(C=0.5, tol=1e-9).fit(z, classes)
    assert ours.coef_.shape == (3, 40) and ours.intercept_.shape == (3,)
    residual = ours.predict_proba(z) - np.eye(3)[classes]
    gradient = 0.5 * residual.T @ z
    active = ours.coef_ != 0
    np.testing.assert_allclose(gradient[active], -np.sign(ours.coef_[active]), atol=1e-3)
    assert np.abs(gradient[~active]).max() <= 1 + 1e-3


def orthogonal(seed=1, rows=64, columns=8):
    """Columns with XᵀX = n I and mean 0, so that penalties act on each coefficient by itself."""
    generator = np.random.default_rng(seed)
    q = np.linalg.qr(np.column_stack([np.ones(rows), generator.normal(size=(rows, columns))]))[0][:, 1:]
    x = q * np.sqrt(rows)
    z = np.array([3, -2, 1.2, -0.8, 0.5, -0.3, 0.1, 0.0])[:columns]
    return x, x @ z, z


def test_closed_forms():
    x, y, z = orthogonal()

    def soft(value, threshold):
        return np.sign(value) * np.maximum(np.abs(value) - threshold, 0)

    alpha = 0.6
    np.testing.assert_allclose(lacuna.Lasso(alpha, tol=1e-12).fit(x, y).coef_, soft(z, alpha), atol=1e-7)
    weights = np.arange(8.0)
    np.testing.assert_allclose(
        lacuna.Lasso(0.2, feature_weights=weights, tol=1e-12).fit(x, y).coef_, soft(z, 0.2 * weights), atol=1e-7)
    mcp = np.where(np.abs(z) <= 3 * alpha, soft(z, alpha) / (1 - 1 / 3), z)
    np.testing.assert_allclose(lacuna.MCPRegressor(alpha, gamma=3, tol=1e-12).fit(x, y).coef_, mcp, atol=1e-6)
    a = 3.7
    scad = np.where(
        np.abs(z) <= 2 * alpha, soft(z, alpha),
        np.where(np.abs(z) <= a * alpha, ((a - 1) * z - np.sign(z) * a * alpha) / (a - 2), z))
    np.testing.assert_allclose(lacuna.SCADRegressor(alpha, a=a, tol=1e-12).fit(x, y).coef_, scad, atol=1e-6)
    l0 = np.where(z * z / 2 > 0.3, z, 0)
    np.testing.assert_allclose(lacuna.L0Regressor(0.3, tol=1e-12).fit(x, y).coef_, l0, atol=1e-7)
    groups = [0, 0, 0, 1, 1, 2, 2, 2]
    expected = np.zeros(8)
    for l1_ratio in (0.0, 0.4):
        for group in range(3):
            own = np.array(groups) == group
            inner = soft(z[own], alpha * l1_ratio)
            norm = np.linalg.norm(inner)
            threshold = alpha * (1 - l1_ratio) * np.sqrt(own.sum())
            expected[own] = inner * max(0, 1 - threshold / norm) if norm > 0 else 0
        ours = lacuna.SparseGroupLasso(groups, alpha, l1_ratio=l1_ratio, tol=1e-12).fit(x, y)
        np.testing.assert_allclose(ours.coef_, expected, atol=1e-6)
    whole = lacuna.GroupLasso([[0, 1, 2], [3, 4], [5, 6, 7]], alpha, tol=1e-12).fit(x, y)
    again = lacuna.SparseGroupLasso(groups, alpha, l1_ratio=0, tol=1e-12).fit(x, y)
    np.testing.assert_allclose(whole.coef_, again.coef_, atol=1e-9)
    assert np.isfinite(whole.dual_gap_) and np.isnan(lacuna.L0Regressor(0.3).fit(x, y).dual_gap_)


def test_choice_by_cross_validation(data):
    x, y, truth = data
    model = lacuna.LassoCV(n_alphas=30, tol=1e-9).fit(x, y)
    assert model.cv_loss_.shape == model.alphas_.shape == (30,) and model.coef_path_.shape == (30, 40)
    assert (np.diff(model.alphas_) < 0).all()
    place = int(np.argmin(model.cv_loss_))
    assert model.alpha_ == model.alphas_[place]
    np.testing.assert_allclose(model.coef_path_[place], model.coef_, rtol=1e-12)
    np.testing.assert_allclose(lacuna.Lasso(model.alpha_, tol=1e-9).fit(x, y).coef_, model.coef_, atol=1e-4)
    simple = lacuna.LassoCV(n_alphas=30, rule="1se").fit(x, y)
    assert simple.alpha_ > model.alpha_
    assert simple.cv_loss_[list(simple.alphas_).index(simple.alpha_)] <= (model.cv_loss_ + model.cv_error_)[place] * 1.001
    assert set(np.flatnonzero(truth)) <= set(np.flatnonzero(simple.coef_))
    net = lacuna.ElasticNetCV(l1_ratio=0.5, n_alphas=20, tol=1e-9).fit(x, 7 * y)
    same = lacuna.ElasticNet(net.alpha_, l1_ratio=net.l1_ratio_, tol=1e-9).fit(x, 7 * y)
    np.testing.assert_allclose(same.coef_, net.coef_, atol=1e-3)


def test_splits_of_ones_own(data):
    from sklearn.model_selection import KFold, ShuffleSplit

    x, y, _ = data
    splitter = KFold(4)
    ours = lacuna.LassoCV(n_alphas=10, cv=splitter, tol=1e-10).fit(x, y)
    again = lacuna.LassoCV(n_alphas=10, cv=list(splitter.split(x)), tol=1e-10).fit(x, y)
    np.testing.assert_array_equal(ours.cv_loss_, again.cv_loss_)
    losses = np.array([
        [((y[test] - lacuna.Lasso(alpha, tol=1e-10).fit(x[train], y[train]).predict(x[test])) ** 2).mean() / 2
         for alpha in ours.alphas_] for train, test in splitter.split(x)])
    np.testing.assert_allclose(ours.cv_loss_, losses.mean(0), rtol=1e-4)
    np.testing.assert_allclose(ours.cv_error_, losses.std(0, ddof=1) / 2, rtol=1e-3)
    with pytest.raises(ValueError, match="left out"):
        lacuna.LassoCV(cv=ShuffleSplit(3, random_state=0)).fit(x, y)


def test_path(data):
    x, y, _ = data
    path = lacuna.regularization_path(x, y, n_alphas=25, eps=1e-2)
    assert path.coefs.shape == (25, 40) and path.converged.all()
    assert not path.coefs[0].any() and path.coefs[1].any()
    assert path.alphas[0] == pytest.approx(np.abs((x - x.mean(0)).T @ (y - y.mean())).max() / 120)
    theirs = sklearn.linear_model.lasso_path(x - x.mean(0), y - y.mean(), alphas=path.alphas, tol=1e-10, max_iter=100_000)[1]
    np.testing.assert_allclose(path.coefs, theirs.T, atol=1e-3)
    own = lacuna.regularization_path(sp.csc_matrix(x), y, alphas=[1.0, 0.5, 0.1], tol=1e-10)
    np.testing.assert_allclose(own.coefs[1], lacuna.Lasso(0.5, tol=1e-10).fit(x, y).coef_, atol=1e-6)
    assert (np.diff(own.explained) > 0).all()
    for penalty in ("elastic-net", "mcp", "scad", "l0", "group-lasso"):
        options = {"groups": 4} if penalty == "group-lasso" else {}
        assert lacuna.regularization_path(x, y, penalty=penalty, n_alphas=5, **options).coefs[-1].any()
    with pytest.raises(ValueError, match="descend"):
        lacuna.regularization_path(x, y, alphas=[0.1, 1])
    with pytest.raises(ValueError, match="groups"):
        lacuna.regularization_path(x, y, penalty="lasso", groups=4)


def test_intervals(data):
    x, y, truth = data
    model = lacuna.LassoCV().fit(x, y)
    found = model.intervals(x, y, features=[3, 8, 20, 0])
    assert found.shape == (4, 3)
    assert (found[:, 1] < found[:, 0]).all() and (found[:, 0] < found[:, 2]).all()
    for (_, lower, upper), column in zip(found[:3], (3, 8, 20)):
        assert lower < truth[column] < upper and not lower <= 0 <= upper
    with pytest.raises(ValueError, match="is not below 40"):
        model.intervals(x, y, features=[40])
    # A mask names the columns that it keeps, and is no list of the columns 0 and 1.
    mask = np.isin(np.arange(40), [3, 8, 20])
    np.testing.assert_allclose(model.intervals(x, y, features=mask), found[:3])
    assert model.intervals(x, y, features=[]).shape == (0, 3)
    for wrong in (mask[:5], [1.5], [[1, 2]]):
        with pytest.raises(ValueError, match="features: a"):
            model.intervals(x, y, features=wrong)
    with pytest.raises(NotImplementedError):
        lacuna.MCPRegressor(0.1).fit(x, y).intervals(x, y)


def test_any_bytes_of_numbers(data):
    x, y, _ = data
    expected = lacuna.Lasso(0.1, tol=1e-12).fit(x, y).coef_
    place = np.empty(x.nbytes + 16, dtype=np.uint8)
    odd = place[1 + -place.ctypes.data % 8:][: x.nbytes].view(np.float64)
    for form in (odd.reshape(x.shape), odd.reshape(x.shape[::-1]).T):
        form[...] = x
        assert not form.flags.aligned
        np.testing.assert_allclose(lacuna.Lasso(0.1, tol=1e-12).fit(form, y).coef_, expected, atol=1e-9)
    sparse = sp.csc_matrix(x)
    sparse.has_canonical_format = True
    sparse.indices, sparse.indptr = sparse.indices.astype(">i4"), sparse.indptr.astype(">i8")
    table = _fitting.table(sparse, y)
    settings = {"strength": 0.1, "tolerance": 1e-12, "standardize": 0.0}
    found = _fitting.fit(settings, table).array("coefficients")
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_pipelines_searches_pickles(data):
    x, y, _ = data
    search = GridSearchCV(make_pipeline(StandardScaler(), lacuna.Lasso()), {"lasso__alpha": [3.0, 0.1, 0.03]}, cv=3).fit(x, y)
    assert search.best_params_["lasso__alpha"] < 3 and search.score(x, y) > 0.9
    parallel = GridSearchCV(lacuna.ElasticNet(), {"alpha": [1.0, 0.1]}, cv=3, n_jobs=2).fit(x, y)
    assert parallel.best_params_ == {"alpha": 0.1}
    for estimator in (lacuna.LassoCV(n_alphas=10), lacuna.GroupLasso(4, 0.1)):
        model = clone(estimator).fit(x, y)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(x), model.predict(x))
        assert model.sparse_coef_.nnz == np.count_nonzero(model.coef_)


def test_weights_are_repetitions(data):
    x, y, _ = data
    counts = np.arange(120) % 3
    weighted = lacuna.Lasso(0.1, tol=1e-12).fit(x, y, sample_weight=counts)
    repeated = lacuna.Lasso(0.1, tol=1e-12).fit(np.repeat(x, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-8)


def test_refusals_have_lacunas_words(data):
    x, y, _ = data
    for estimator, message in (
        (lacuna.Lasso(-1), "strength: is -1.0"),
        (lacuna.ElasticNet(l1_ratio=2), "mixing: is 2.0, not from 0 to 1"),
        (lacuna.MCPRegressor(gamma=1), "shape: is 1.0, not above 1"),
        (lacuna.SCADRegressor(a=2), "shape: is 2.0, not above 2"),
        (lacuna.LassoCV(cv=1), "folds: are 1"),
        (lacuna.LassoCV(rule="best"), "'best' is none of 1se, min"),
        (lacuna.Lasso(tol=0), "tolerance: is 0.0"),
        (lacuna.Lasso(feature_weights=[1, 2]), "factors: are 2 for 40 columns"),
        (lacuna.Lasso(feature_weights=-np.ones(40)), "factors: -1.0 is not a finite number"),
        (lacuna.GroupLasso([0, 1]), "groups: are 2 for 40 columns"),
        (lacuna.GroupLasso([[0, 1], [1]]), "in two groups"),
        (lacuna.GroupLasso([[0, 1], [99]]), "not below 40"),
        (lacuna.GroupLasso(0), "runs of 0"),
        # The library takes its own choice for what is not there.
        (lacuna.Lasso(None), "strength: is None"),
        (lacuna.Lasso(float("nan")), "strength: is nan, not a number"),
        (lacuna.ElasticNet(l1_ratio=float("nan")), "mixing: is nan"),
        (lacuna.MCPRegressor(gamma=float("nan")), "shape: is nan"),
        (lacuna.LassoCV(random_state=None), "seed: is None"),
        (lacuna.LassoCV(tol=None), "tolerance: is None"),
        (lacuna.LassoCV(rule="min\0"), "rule: has a character NUL"),
    ):
        with pytest.raises(lacuna.LacunaError, match=message.replace("(", r"\(")):
            estimator.fit(x, y)
    with pytest.raises(lacuna.InvalidArgumentError, match="above 0"):
        lacuna.LogisticRegression(C=0).fit(x, y > 0)
