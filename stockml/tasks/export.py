"""Exports a trained model as an ONNX file that maps unscaled windows to forecasts in the target's units."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from stockml.errors import RunError, UserError
from stockml.tasks import onnx_trees

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.data.panel import Panel
    from stockml.data.scaler import Scaler
    from stockml.data.settings import BarsConfig
    from stockml.data.split import Rows
    from stockml.runs.folder import RunFolder
    from stockml.tasks.predictor import Predictor

_TOLERANCE = 1e-5  # in standard deviations of the target
_MOST_CHECKED = 1024


def require_installed() -> None:
    """Raise UserError where a package for the export is not installed."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"export.onnx=true: needs {', '.join(missing)}: pip install 'stockml[onnx]'")


def onnx(folder: RunFolder, predictor: Predictor, panel: Panel, rows: Rows) -> Path:
    """Write model.onnx: unscaled windows (N, T, F) to forecasts (N,); of a walk-forward run the last fold's model.

    Raises RunError where its forecasts of the panel's windows differ from the model's by more than 1e-5 standard
    deviations of the target, UserError where each stock is scaled by itself.
    """
    import onnxruntime
    from onnx import StringStringEntryProto

    from stockml.models.tabular import Tabular

    fold = predictor.folds[-1]
    if fold.scaler.stocks is not None:
        raise UserError(
            "export.onnx=true: the run scales each stock by itself, and one ONNX model has a single scaler; "
            "train with data.scaler=global"
        )
    module = _FromRawWindows(fold.model, fold.scaler).cpu().float().eval()
    windows = torch.from_numpy(_windows(panel, rows[-_MOST_CHECKED:]))
    tabular = any(isinstance(part, Tabular) for part in module.modules())
    model = onnx_trees.converted(fold.model, fold.scaler, fold.shape) if tabular else _traced(module, windows[:2])
    model.metadata_props.extend(
        StringStringEntryProto(key=key, value=text) for key, text in _described(predictor, panel)
    )
    content = model.SerializeToString()
    found = onnxruntime.InferenceSession(content).run(None, {"windows": windows.numpy()})[0]
    with torch.inference_mode():
        difference = float(np.abs(found - module(windows).numpy()).max()) / fold.scaler.target_std
    if not difference <= _TOLERANCE:
        raise RunError(f"{folder.path}: the ONNX model's forecasts differ by {difference:.1e} standard deviations")
    with folder.writing("model.onnx") as file:
        file.write(content)
    return folder.path / "model.onnx"


def _traced(module: torch.nn.Module, windows: Tensor) -> Any:
    """The ONNX model of a torch module, which is traced with a few windows."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of torch and onnx about their own code
        program = torch.onnx.export(
            module,
            (windows,),
            dynamo=True,
            verbose=False,
            input_names=["windows"],
            output_names=["forecasts"],
            dynamic_shapes=[{0: torch.export.Dim("samples")}],
        )
    assert program is not None
    return program.model_proto


def _described(predictor: Predictor, panel: Panel) -> Iterator[tuple[str, str]]:
    """What the input and the output are, by name: features in order as JSON, those that are expressions with these."""
    data = cast("BarsConfig", predictor.config.data)
    yield "features", json.dumps(list(panel.features))
    yield "expressions", json.dumps(dict(predictor.config.features.columns))
    yield "transform", panel.transform if predictor.config.features.bars else ""
    yield "window", str(panel.window)
    yield "target", data.target
    yield "horizon", str(panel.reach)


def _windows(panel: Panel, rows: Rows) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    """(N, T, F) unscaled windows that end in `rows`."""
    return np.stack([panel.values[row - panel.window + 1 : row + 1] for row in rows])


class _FromRawWindows(torch.nn.Module):
    """Scaler, model, and conversion to the target's units."""

    def __init__(self, model: torch.nn.Module, scaler: Scaler) -> None:
        super().__init__()
        self.model = model
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.from_numpy(scaler.mean.astype(np.float32)))
        self.register_buffer("std", torch.from_numpy(scaler.std.astype(np.float32)))
        self.base, self.slope = scaler.shared_line

    def forward(self, windows: Tensor) -> Tensor:
        """Map unscaled windows (N, T, F) to forecasts (N,)."""
        scaled: Tensor = self.model((windows - self.mean) / self.std)
        return scaled * self.slope + self.base
