"""Gradient boosting by LightGBM (Ke et al. 2017): (B, T, F) → (B,). Importing it imports LightGBM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import torch
from lightgbm.callback import CallbackEnv, EarlyStopException
from numpy.typing import NDArray
from torch import Tensor

from stockml.models.fitted_whole import CHUNK
from stockml.models.tabular import Tabular

if TYPE_CHECKING:
    from stockml.models.fitted_whole import FitContext, SampleBatches
    from stockml.models.settings import LightGBMConfig

_OBJECTIVES = {"mse": "regression", "mae": "regression_l1", "huber": "huber", "quantile": "quantile"}
_MOST_COPIED_BYTES = 2**28  # of inputs in one array; more are read from the panel chunk by chunk


class LightGBMTrees(Tabular):
    """A LightGBM booster. Weights are its own text; a fit goes on from a booster that is loaded already."""

    fitted: lightgbm.Booster | None = None

    def __init__(self, config: LightGBMConfig, window: int, features: int) -> None:
        super().__init__(config, window, features)
        self.config = config

    def predict(self, columns: NDArray[Any]) -> NDArray[Any]:
        """Forecasts (B,) from inputs (B, P)."""
        return self._predict(columns)

    def contributions(self, x: Tensor) -> Tensor:
        """Exact SHAP values (B, T, F) of windows (B, T, F), in units of the scaled forecast (Lundberg et al. 2020)."""
        found = torch.zeros_like(x, dtype=torch.float64)
        of_inputs = self._predict(self.columns(x), pred_contrib=True)[:, :-1]  # the last one is the expected forecast
        found[:, -self.days :] = torch.from_numpy(of_inputs).view(len(x), self.days, x.shape[2])
        return found

    def _predict(self, columns: NDArray[Any], **options: Any) -> NDArray[Any]:
        assert self.fitted is not None
        found = self.fitted.predict(columns, num_iteration=-1, num_threads=torch.get_num_threads(), **options)
        return np.asarray(found)

    def dump(self) -> bytes:
        """LightGBM's text of the booster, without its parameters, which name the threads and the rounds asked for."""
        assert self.fitted is not None
        return self.fitted.model_to_string(num_iteration=-1).partition("\nparameters:")[0].encode()

    def load(self, content: bytes) -> lightgbm.Booster:
        """The booster of LightGBM's text; ValueError where it is none of this module's inputs."""
        text = content.decode()
        if not text.startswith("tree\n") or "\nend of trees\n" not in text:  # LightGBM itself prints before it fails
            raise ValueError("it is not LightGBM's text")
        header, *trees = text.partition("\nend of trees\n")[0].split("\nTree=")
        fields = _fields(header)
        inputs = 1 + int(fields["max_feature_idx"])
        if inputs != self.inputs:
            raise ValueError(f"it has {inputs} inputs, not {self.inputs}")
        if (fields["num_class"], fields["num_tree_per_iteration"]) != ("1", "1"):
            raise ValueError("it has several outputs")
        for number, tree in enumerate(trees):
            if not _is_sound(_fields(tree), inputs):  # LightGBM itself would read beyond its arrays
                raise ValueError(f"its tree {number} is damaged")
        header = re.sub(r"\ntree_sizes=.*", "", header)  # by which LightGBM would find other trees than these
        return lightgbm.Booster(model_str="\nTree=".join([header, *trees]) + "\nend of trees\n")

    def to_onnx(self) -> Any:
        """An ONNX model that maps inputs (N, P) to forecasts (N, 1)."""
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        return convert_lightgbm(self.fitted, initial_types=[("inputs", FloatTensorType([None, self.inputs]))])

    def fit_whole(self, train: SampleBatches, validation: SampleBatches, context: FitContext) -> dict[str, int]:
        """Add up to `model.rounds` trees, fewer where `trainer.patience` rounds in a row do not help validation."""
        before, settings = self.fitted, parameters(self.config, context)
        parts = [part.of_last_days(self.days) for part in (train, validation)]
        names = parts[0].names()
        data: list[lightgbm.Dataset] = []
        for part in parts:
            # A booster to go on from forecasts all inputs, for which LightGBM needs them in one array.
            small = before is not None or len(part.rows) * self.inputs * 4 <= _MOST_COPIED_BYTES
            inputs = part.inputs() if small else _Rows(part)
            reference = data[0] if data else None
            data.append(lightgbm.Dataset(inputs, part.targets(), reference, feature_name=names, params=settings))

        def after_round(env: CallbackEnv) -> None:
            assert isinstance(env.model, lightgbm.Booster)
            self.fitted = env.model
            grown = env.model.num_trees() > env.iteration
            losses = [float(result[2]) for result in env.evaluation_result_list or ()]
            if not grown or context.report(losses[0], losses[1]):
                raise EarlyStopException(env.iteration, env.evaluation_result_list or [])

        rounds = self.config.rounds - context.rounds_done
        fitted = lightgbm.train(
            settings, data[0], rounds, data, ["train", "validation"], init_model=before, callbacks=[after_round]
        )
        assert isinstance(fitted, lightgbm.Booster)
        self.fitted = fitted
        return {}

    def drop_rounds(self, n: int) -> dict[str, int]:
        """Leave out the last n trees; return the number of trees and leaves."""
        assert self.fitted is not None
        trees = self.fitted.num_trees() - n
        self.fitted = lightgbm.Booster(model_str=self.fitted.model_to_string(num_iteration=trees))
        leaves = sum(tree["num_leaves"] for tree in self.fitted.dump_model()["tree_info"])
        return {"trees": trees, "leaves": leaves}


def _fields(text: str) -> dict[str, str]:
    """The fields of a part of LightGBM's text. ValueError where one is there twice."""
    lines = [line.split("=", 1) for line in text.splitlines() if "=" in line]
    if len(fields := dict(lines)) < len(lines):
        raise ValueError("it has a field twice")
    return fields


def _is_sound(fields: Mapping[str, str], inputs: int) -> bool:
    """Whether the nodes of a tree in LightGBM's text lead to its leaves, by inputs that there are."""
    names = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "leaf_value")
    leaves, columns = int(fields["num_leaves"]), {name: fields.get(name, "").split() for name in names}
    nodes = leaves - 1
    children = [
        (node, int(child)) for side in ("left_child", "right_child") for node, child in enumerate(columns[side])
    ]
    return (
        len(columns["leaf_value"]) == leaves
        and all(len(columns[name]) == nodes for name in names[:-1])
        and all(-leaves <= child < 0 or node < child < nodes for node, child in children)
        and all(0 <= int(feature) < inputs for feature in columns["split_feature"])
        and (fields["num_cat"], fields["is_linear"]) == ("0", "0")
    )


def parameters(config: LightGBMConfig, context: FitContext) -> dict[str, Any]:
    """LightGBM's own parameters. Columns are searched one by one, so that the number of threads has no effect."""
    names = ("learning_rate", "num_leaves", "min_data_in_leaf", "feature_fraction", "bagging_fraction", "bagging_freq")
    return {
        "objective": _OBJECTIVES[context.trainer.loss],
        "alpha": 1.0
        if context.trainer.quantile is None
        else context.trainer.quantile,  # of huber: one standard deviation
        "max_depth": config.max_depth or -1,
        **{name: getattr(config, name) for name in (*names, "lambda_l1", "lambda_l2")},
        "seed": context.seed % 2**31,
        "num_threads": context.threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }


class _Rows(lightgbm.Sequence):
    """Inputs that LightGBM reads chunk by chunk, so that there is no second copy of the panel."""

    def __init__(self, part: SampleBatches) -> None:
        self.part = part
        self._chunk, self._start = np.empty(0), -1

    def __getitem__(self, which: Any) -> NDArray[Any]:
        """The inputs of a slice, or of one sample, in the type that LightGBM computes its bins in."""
        if isinstance(which, slice):
            return self.part.inputs_of(which)
        within = int(which) % CHUNK  # samples are asked for in order: a chunk is read once
        if self._start != (start := int(which) - within):
            self._chunk, self._start = self.part.inputs_of(slice(start, start + CHUNK)), start
        row: NDArray[Any] = self._chunk[within]
        return row.astype(np.float64)

    def __len__(self) -> int:
        return len(self.part.rows)
