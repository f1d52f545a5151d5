"""What models of another library share: inputs as columns, and a state of bytes in place of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.models.settings import TabularConfig


class Tabular(nn.Module):
    """A fitted model of another library, on the last days of windows (B, T, F); until it is fitted, it forecasts 0."""

    fitted: Any = None
    """The library's own model."""

    def __init__(self, config: TabularConfig, window: int, features: int) -> None:
        super().__init__()
        self.days = window if config.days is None else config.days
        if self.days > window:
            raise UserError(f"model.days={self.days}: a window has {window} days (data.window)")
        self.name, self.inputs = config.name, self.days * features

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        if self.fitted is None:
            return x.new_zeros(len(x))
        return torch.from_numpy(self.predict(self.columns(x))).to(x)

    def columns(self, x: Tensor) -> NDArray[Any]:
        """The inputs (B, days · F) of windows (B, T, F)."""
        columns: NDArray[Any] = x[:, -self.days :].flatten(1).cpu().numpy()
        return columns

    def predict(self, columns: NDArray[Any]) -> NDArray[Any]:
        """Forecasts (B,) from inputs (B, P)."""
        raise NotImplementedError

    def dump(self) -> bytes:
        """The fitted model, for a checkpoint."""
        raise NotImplementedError

    def load(self, content: bytes) -> Any:
        """The fitted model from what `dump` gave; any exception where it is no such model."""
        raise NotImplementedError

    def to_onnx(self) -> Any:
        """An ONNX model that maps inputs (N, P) to forecasts (N, 1); ImportError where its converter is missing."""
        raise NotImplementedError

    def get_extra_state(self) -> Tensor:
        """The fitted model as a tensor of bytes (uint8), of any length."""
        return torch.from_numpy(np.frombuffer(b"" if self.fitted is None else self.dump(), np.uint8).copy())

    def set_extra_state(self, state: Tensor) -> None:
        """Take the fitted model from `get_extra_state`; UserError where it is none that this module can have."""
        try:
            self.fitted = self.load(state.numpy().tobytes())
        except Exception as error:  # a damaged or hostile file can fail anywhere in its library
            reason = (" ".join(str(error).split()) or type(error).__name__)[:160]
            raise UserError(f"model={self.name}: the checkpoint holds no such model ({reason})") from error
