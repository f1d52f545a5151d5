"""The default model trained with Lightning, its jobs started by Hydra's own launcher; run by `lightning` of run.py.

    python lightning_jobs.py -m data_dir=FOLDER stock=AAPL,XOM 'seed=range(25)'

It does what a job of stockml does to train: the bars are read with pandas, adjusted, turned into log changes, split by
day, purged and scaled on train; the windows, the model, the optimizer, early stopping and ten epochs are the same; the
best checkpoint is kept, and the forecasts of the test are scored and written. It does not do the rest: no baselines, no
significance, intervals or verdict, no checks of the data, no checkpoint to continue from, no table over all jobs, and
no process of its own for a job. Lightning is spared what it need not do: one thread, no progress bar, no summary of
the model, no sanity check, windows that are views of one array, and the smallest of its loggers.
"""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import lightning
import numpy as np
import pandas as pd
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

_WINDOW = 60


@dataclass
class Config:
    """A job."""

    data_dir: str = "???"
    stock: str = "AAPL"
    seed: int = 42
    epochs: int = 10
    batch_size: int = 64
    lr: float = 1e-3
    hidden_dim: int = 64
    dropout: float = 0.1
    patience: int = 5


class MLP(lightning.LightningModule):
    """Linear → ReLU → Dropout → Linear on the window's mean over time."""

    def __init__(self, config: Any, features: int) -> None:
        super().__init__()
        self.lr = config.lr
        self.layers = nn.Sequential(
            nn.Linear(features, config.hidden_dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden_dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        forecasts: Tensor = self.layers(x.mean(1))
        return forecasts.squeeze(-1)

    def _step(self, batch: list[Tensor], name: str) -> Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.log(name, loss, on_step=False, on_epoch=True, batch_size=len(y))
        return loss

    def training_step(self, batch: list[Tensor], _number: int) -> Tensor:
        """The loss of a batch."""
        return self._step(batch, "train_loss")

    def validation_step(self, batch: list[Tensor], _number: int) -> None:
        """Log the loss of a batch."""
        self._step(batch, "validation_loss")

    def test_step(self, batch: list[Tensor], _number: int) -> None:
        """Log the loss of a batch."""
        self._step(batch, "test_loss")

    def predict_step(self, batch: list[Tensor], _number: int) -> Tensor:
        """The forecasts of a batch."""
        forecasts: Tensor = self(batch[0])
        return forecasts

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.lr)


def prepare(config: Any) -> tuple[dict[str, TensorDataset], tuple[float, float]]:
    """The scaled windows (N, T, F) and targets (N,) of each split; the mean and the deviation of train's targets."""
    bars = pd.read_csv(Path(config.data_dir) / f"{config.stock}.csv", parse_dates=["Date"])
    factor = bars["Adj Close"] / bars["Close"]
    columns = {name: bars[name] * factor for name in ("Close", "Open", "High", "Low")} | {"Volume": bars["Volume"]}
    columns = {"Close": columns["Close"]} if config.stock == "SP500" else columns
    changes = pd.DataFrame(columns).apply(np.log).replace(-np.inf, np.nan).ffill().diff().to_numpy()[1:]
    target = changes[_WINDOW:, 0]
    count = len(target)
    first_test = count - int(0.2 * count)
    first_validation = first_test - int(0.1 * first_test)
    spans = {
        "train": slice(0, first_validation - 1),
        "validation": slice(first_validation, first_test - 1),
        "test": slice(first_test, count),
    }
    seen = changes[: first_validation + _WINDOW - 2]
    scaled = torch.from_numpy(((changes - seen.mean(0)) / seen.std(0)).astype(np.float32))
    windows = scaled.unfold(0, _WINDOW, 1)[:count].transpose(1, 2)  # a view: nothing is copied
    mean, std = target[spans["train"]].mean(), target[spans["train"]].std()
    targets = torch.from_numpy(((target - mean) / std).astype(np.float32))
    return {name: TensorDataset(windows[span], targets[span]) for name, span in spans.items()}, (mean, std)


def job(config: Any) -> float:
    """Train, keep the best epoch, forecast the test; return the best validation loss."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    lightning.seed_everything(config.seed, verbose=False)
    splits, (mean, std) = prepare(config)
    shuffled = torch.Generator().manual_seed(config.seed)
    train = DataLoader(splits["train"], config.batch_size, shuffle=True, generator=shuffled)
    validation, test = (DataLoader(splits[name], 1024) for name in ("validation", "test"))
    best = ModelCheckpoint(folder, "best", monitor="validation_loss")
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=config.epochs,
        callbacks=[best, EarlyStopping("validation_loss", min_delta=1e-4, patience=config.patience)],
        logger=CSVLogger(folder, name="", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    model = MLP(config, splits["train"].tensors[0].shape[2])
    trainer.fit(model, train, validation)
    batches = trainer.predict(model, test, ckpt_path=best.best_model_path)
    assert batches is not None and best.best_model_score is not None
    forecasts = mean + std * torch.cat([batch for batch in batches if isinstance(batch, Tensor)]).double().numpy()
    truth = mean + std * splits["test"].tensors[1].double().numpy()
    pd.DataFrame({"y_true": truth, "y_pred": forecasts}).to_csv(folder / "predictions.csv", index=False)
    loss = float(best.best_model_score)
    scores = {"validation_mse": std**2 * loss, "test_mse": float(np.square(truth - forecasts).mean())}
    (folder / "metrics.json").write_text(json.dumps(scores))
    return loss


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # that more workers might load faster: of arrays in memory they do not
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    ConfigStore.instance().store("config", Config)
    hydra.main(version_base="1.3", config_path=None, config_name="config")(job)()
