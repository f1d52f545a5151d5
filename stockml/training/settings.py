"""Settings of a trainer and of the hardware. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from stockml.config.schema import bounded, incidental


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Settings of every trainer."""

    name: str
    epochs: int = bounded(least=1, most=10_000_000)
    batch_size: int = bounded(least=1)
    """Samples per process and update."""
    ensemble: int = bounded(least=1, most=1000)
    """Number of models, trained with the seeds from `seed` on, whose forecasts are averaged."""
    lr: float = bounded(above=0)
    schedule: Literal["constant", "cosine", "plateau"]
    """Course of the learning rate; cosine: down to 0 over all epochs; plateau: halved when the loss stops improving."""
    warmup_epochs: float = bounded(least=0)
    """Epochs (fractions allowed) in which the learning rate rises to `lr`."""
    plateau_patience: int = bounded(least=1)
    """Epochs without a better validation loss before schedule=plateau halves the learning rate."""
    optimizer: Literal["adam", "adamw", "sgd"]
    weight_decay: float = bounded(least=0)
    loss: Literal["mse", "mae", "huber", "quantile"]
    quantile: float | None = bounded(above=0, below=1)
    """The quantile that loss=quantile forecasts; null with any other loss."""
    patience: int | None = bounded(least=1)
    """Epochs without a better validation loss before training stops; None: never early."""
    min_delta: float = bounded(least=0)
    """How much lower a validation loss must be to count as better, in units of the scaled target: for mse, in R²."""
    grad_clip_norm: float | None = bounded(above=0)
    shuffle: bool
    overfit_batches: int = bounded(least=0)
    """Train on this many batches only, until their loss is near zero, and fail if it never is; 0: off."""
    resume: str | None = incidental()
    """Folder of an interrupted run, which is continued in place."""
    init_from: str | None
    """Folder of a run with whose best weights training starts; None: with random ones."""
    warm_start: bool
    """Walk-forward: whether a fold's training starts with the best weights of the fold before."""

    def global_batch(self, world_size: int) -> int:
        """Samples of one update, over all processes."""
        return self.batch_size * world_size

    def conflicts(self) -> Iterator[str]:
        """The rules between fields that are broken."""
        if self.loss == "quantile" and self.quantile is None:
            yield "quantile: needed with trainer.loss=quantile; name the quantile to forecast: trainer.quantile=0.1"
        if self.loss != "quantile" and self.quantile is not None:
            yield f"quantile: without effect on trainer.loss={self.loss}; leave it out, or add trainer.loss=quantile"
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            yield f"warmup_epochs: {self.warmup_epochs:g} must be below the {self.epochs} epochs of trainer.epochs"
        if self.schedule == "plateau" and self.patience is not None and self.plateau_patience >= self.patience:
            yield (
                f"plateau_patience: trainer.patience stops training after {self.patience} epochs without improvement, "
                "so the learning rate would never be halved; lower it, or raise trainer.patience"
            )

    def conflicts_with(self, config: Any) -> Iterator[str]:
        """The rules between these and other sections that are broken."""
        if self.quantile is not None and getattr(config.data, "target_normalize", "none") != "none":
            rank = config.data.target_normalize
            yield f"trainer.loss=quantile: not with data.target_normalize={rank}, whose quantile is none of the target"
        if self.warm_start and len(config.each_fold()) == 1:
            yield (
                "trainer.warm_start: a fold starts with the weights of the one before: needs all folds of "
                "data.split=walk_forward; leave it out"
            )


OF_STEPS = (
    *("epochs", "batch_size", "global_batch_size", "lr", "schedule", "warmup_epochs", "plateau_patience", "optimizer"),
    *("weight_decay", "patience", "min_delta", "grad_clip_norm", "shuffle"),
)
"""Settings of training step by step: without effect on a model that is fitted whole."""


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """Settings of the hardware."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: int | Literal["auto"] = bounded(least=1)
    precision: Literal["fp32", "fp64", "bf16"]
    deterministic: bool
    num_workers: int = incidental(least=0)

    def conflicts(self) -> Iterator[str]:
        """The rules between fields that are broken."""
        if self.precision == "bf16" and self.device in ("cpu", "mps"):
            yield f"precision: bf16 needs hardware=cuda, not {self.device}; take fp32"
        if self.precision == "fp64" and self.device == "mps":
            yield "precision: mps has no fp64; take fp32, or hardware=cpu"
