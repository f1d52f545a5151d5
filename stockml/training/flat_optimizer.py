"""The optimizer of one flat tensor, and a shortcut to its step.

A run that never compiles would spend a second on importing torch's compiler: torch imports it in Optimizer's methods,
to exclude these from compilation. The shortcuts here avoid that by what torch's decorators leave accessible. With a
torch that is built differently they do nothing, and the run takes that second.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stockml.training.settings import TrainerConfig

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
_KERNELS = {torch.optim.Adam: "_fused_adam_", torch.optim.AdamW: "_fused_adamw_"}
_KERNEL_SETTINGS = ("weight_decay", "eps", "amsgrad", "maximize")


def build(flat: nn.Parameter, config: TrainerConfig) -> torch.optim.Optimizer:
    """The optimizer that the config names, of one flat tensor."""
    _skip_compiler_import()
    settings: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        settings["momentum"] = 0.9
    return _OPTIMIZERS[config.optimizer]([flat], **settings)


def make_step(optimizer: torch.optim.Optimizer, flat: nn.Parameter) -> Callable[[float], object]:
    """A function of the learning rate that takes the optimizer's step, without the decorators around it.

    The decorators import the compiler and call hooks. Adam's first step creates its state; the later ones call the
    fused kernel directly. Around that kernel torch sorts tensors by device and type at each step, which takes longer
    than the kernel; here there is one tensor.
    """
    undecorated = torch.no_grad()(functools.partial(inspect.unwrap(type(optimizer).step), optimizer))

    def plain_step(lr: float) -> object:
        optimizer.param_groups[0]["lr"] = lr
        return undecorated()

    group = optimizer.param_groups[0]
    kernel = getattr(torch, _KERNELS.get(type(optimizer), ""), None)
    if kernel is None:
        return plain_step
    settings = {key: group[key] for key in _KERNEL_SETTINGS if key in group}
    settings["beta1"], settings["beta2"] = group["betas"]
    weights, gradient, one = flat.detach(), flat.grad, torch.ones((), device=flat.device)

    def kernel_step(lr: float) -> object:
        state = optimizer.state[flat]
        if not state:
            return plain_step(lr)
        state["step"].add_(one)
        return kernel(
            [weights], [gradient], [state["exp_avg"]], [state["exp_avg_sq"]], [], [state["step"]], lr=lr, **settings
        )

    return kernel_step


def backward(loss: Tensor) -> None:
    """`loss.backward()` without the checks around it, which take as long as a small layer does."""
    if _ENGINE is None:
        loss.backward()
    else:
        gradients = (torch.ones_like(loss),)
        _ENGINE.run_backward((loss,), gradients, False, False, (), allow_unreachable=True, accumulate_grad=True)


_ENGINE = getattr(torch.autograd.Variable, "_execution_engine", None)


def _skip_compiler_import() -> None:
    """Mark methods that import the compiler in order to wrap themselves as wrapped already."""
    for method in vars(torch.optim.Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None and plain.__name__ in ("add_param_group", "state_dict", "load_state_dict"):
            plain.__dict__.setdefault("__dynamo_disable", plain)
