"""scikit-learn's regressors: (B, T, F) → (B,). Importing it imports scikit-learn and skops."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.linear_model import ElasticNet, enet_path
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor, ExtraTreeRegressor
from threadpoolctl import ThreadpoolController

from stockml.models.tabular import Tabular

if TYPE_CHECKING:
    from stockml.models.fitted_whole import FitContext, SampleBatches
    from stockml.models.settings import TabularConfig

_TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor", "sklearn.tree._tree.Tree"]
"""What a checkpoint may hold beyond what skops itself trusts."""
_LOSSES = {"mse": "squared_error", "mae": "absolute_error", "quantile": "quantile"}
_ALPHAS = 50


class Estimator(Tabular):
    """A scikit-learn regressor. Weights are those of skops, which runs no code of a file."""

    def __init__(self, config: TabularConfig, window: int, features: int) -> None:
        super().__init__(config, window, features)
        self.config = config

    def predict(self, columns: NDArray[Any]) -> NDArray[Any]:
        """Forecasts (B,) from inputs (B, P)."""
        found: NDArray[Any] = self.fitted.predict(columns)
        return found

    def dump(self) -> bytes:
        """skops' archive of the regressor."""
        content: bytes = skops.io.dumps(self.fitted)
        return content

    def load(self, content: bytes) -> Any:
        """The regressor of skops' archive; ValueError where it is another one, or of other inputs."""
        found, own = skops.io.loads(content, trusted=_TRUSTED), type(_MAKERS[self.name](self.config, None))
        if type(found) is not own:
            raise ValueError(f"it is a {type(found).__name__}, not a {own.__name__}")
        if found.n_features_in_ != self.inputs:
            raise ValueError(f"it has {found.n_features_in_} inputs, not {self.inputs}")
        if not _is_sound(found, self.inputs):
            raise ValueError("its arrays are damaged")
        return found

    def to_onnx(self) -> Any:
        """An ONNX model that maps inputs (N, P) to forecasts (N, 1)."""
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        types = [("inputs", FloatTensorType([None, self.inputs]))]
        return to_onnx(self.fitted, initial_types=types, target_opset={"": 18, "ai.onnx.ml": 3})

    def fit_whole(
        self, train: SampleBatches, validation: SampleBatches, context: FitContext
    ) -> dict[str, float | int | str]:
        """Fit the regressor on train; validation ends boosting, and chooses an `alpha` that is auto."""
        (x, y), (x_valid, y_valid) = (
            (part.of_last_days(self.days).inputs(), part.targets()) for part in (train, validation)
        )
        estimator = _MAKERS[self.name](self.config, context)
        boosted = isinstance(estimator, HistGradientBoostingRegressor) and estimator.early_stopping
        with ThreadpoolController().limit(limits=context.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a path that has not converged is judged on validation like any other
            if isinstance(estimator, ElasticNet) and estimator.alpha == "auto":
                estimator.alpha = best_alpha(x, y, x_valid, y_valid, estimator.l1_ratio)
            self.fitted = estimator.fit(x, y, **({"X_val": x_valid, "y_val": y_valid} if boosted else {}))
        if hasattr(estimator, "n_jobs"):
            estimator.n_jobs = None  # the order in which threads add up trees is not always the same
        return _facts(self.fitted)


def best_alpha(
    x: NDArray[Any], y: NDArray[Any], x_valid: NDArray[Any], y_valid: NDArray[Any], l1_ratio: float
) -> float:
    """The alpha of an elastic net's path on train with the lowest squared error on validation."""
    mean, base = x.mean(0), y.mean()
    alphas, weights, _ = enet_path(x - mean, y - base, l1_ratio=l1_ratio, n_alphas=_ALPHAS)
    errors = ((x_valid - mean) @ weights + base - y_valid[:, None]) ** 2
    return float(alphas[np.argmin(errors.mean(0))])


def _is_sound(fitted: Any, inputs: int) -> bool:
    """Whether a regressor's arrays fit together: scikit-learn would read beyond them, or never come to a leaf."""
    if isinstance(fitted, ElasticNet):
        return bool(np.shape(fitted.coef_) == (inputs,))
    if isinstance(fitted, SVR):
        arrays = (fitted.support_vectors_, fitted._dual_coef_, fitted._n_support, fitted._intercept_)
        shapes = ((len(fitted.support_), inputs), (1, len(fitted.support_)), (2,), (1,))
        return isinstance(fitted.kernel, str) and not fitted._sparse and tuple(map(np.shape, arrays)) == shapes
    if isinstance(fitted, HistGradientBoostingRegressor):
        trees = [tree for of_round in fitted._predictors for tree in of_round]
        nodes = [tree.nodes for tree in trees if type(tree) is TreePredictor and not tree.nodes["is_categorical"].any()]
        names = ("left", "right", "feature_idx")
        is_single = fitted._preprocessor is None and np.shape(fitted._baseline_prediction) == (1, 1)
    else:
        trees, own = fitted.estimators_, type(fitted.estimator_)
        nodes = [tree.tree_.__getstate__()["nodes"] for tree in trees if type(tree) is own]
        names = ("left_child", "right_child", "feature")
        is_single = own in (DecisionTreeRegressor, ExtraTreeRegressor) and fitted.n_outputs_ == 1
    return bool(is_single and len(nodes) == len(trees)) and all(_leads_to_leaves(of, names, inputs) for of in nodes)


def _leads_to_leaves(nodes: NDArray[Any], names: tuple[str, str, str], inputs: int) -> bool:
    """Whether each inner node's children come after it, and its feature is one of the inputs."""
    left, right, feature = (nodes[name].astype(np.int64) for name in names)
    is_leaf = nodes["is_leaf"] != 0 if "is_leaf" in (nodes.dtype.names or ()) else left == -1
    inner = np.flatnonzero(~is_leaf)
    children = np.stack([left[inner], right[inner]])
    of_inputs = (feature[inner] >= 0) & (feature[inner] < inputs)
    return bool(len(nodes) and (children > inner).all() and (children < len(nodes)).all() and of_inputs.all())


def _facts(fitted: Any) -> dict[str, float | int | str]:
    if isinstance(fitted, ElasticNet):
        return {"alpha": float(fitted.alpha), "weights": int(np.count_nonzero(fitted.coef_))}
    if isinstance(fitted, SVR):
        not_converged = {} if fitted.fit_status_ == 0 and fitted.n_iter_ < fitted.max_iter else {"converged": "no"}
        return {"support_vectors": len(fitted.support_), **not_converged}
    if isinstance(fitted, HistGradientBoostingRegressor):
        trees = [tree for of_round in fitted._predictors for tree in of_round]
        return {"trees": len(trees), "leaves": sum(int(tree.get_n_leaf_nodes()) for tree in trees)}
    return {"trees": len(fitted.estimators_), "leaves": sum(int(tree.get_n_leaves()) for tree in fitted.estimators_)}


def _forest(kind: type) -> Callable[[Any, FitContext | None], Any]:
    def make(c: Any, context: FitContext | None) -> Any:
        settings = {name: getattr(c, name) for name in ("n_estimators", "max_depth", "min_samples_leaf")}
        seeds = {"random_state": context.seed, "n_jobs": context.threads} if context else {}
        return kind(**settings, max_features=c.max_features, **seeds)

    return make


def _hist_gradient_boosting(c: Any, context: FitContext | None) -> Any:
    names = ("max_iter", "learning_rate", "max_leaf_nodes", "min_samples_leaf", "l2_regularization", "max_features")
    settings = {name: getattr(c, name) for name in names}
    if context is None:
        return HistGradientBoostingRegressor(**settings)
    trainer = context.trainer
    return HistGradientBoostingRegressor(
        **settings,
        loss=_LOSSES[trainer.loss],
        quantile=trainer.quantile,
        early_stopping=trainer.patience is not None,
        n_iter_no_change=trainer.patience or 1,
        tol=trainer.min_delta / 2 if trainer.loss == "mse" else trainer.min_delta,  # its loss is half the square
        random_state=context.seed,
    )


def _elastic_net(c: Any, _context: FitContext | None) -> Any:
    return ElasticNet(alpha=c.alpha, l1_ratio=c.l1_ratio)


def _svr(c: Any, _context: FitContext | None) -> Any:
    return SVR(kernel=c.kernel, C=c.C, epsilon=c.epsilon, gamma=c.gamma, max_iter=c.max_iter)


_MAKERS: dict[str, Callable[[Any, FitContext | None], Any]] = {
    "random_forest": _forest(RandomForestRegressor),
    "extra_trees": _forest(ExtraTreesRegressor),
    "hist_gradient_boosting": _hist_gradient_boosting,
    "elastic_net": _elastic_net,
    "svr": _svr,
}
"""The regressor of each model's settings, by the model's name."""
