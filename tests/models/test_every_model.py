"""What is true of every model in the register: a model that is added to it is tested by these tests.

It needs its number of parameters among FORMULAS, and a line in CAUSAL where its states know nothing of later days.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stockml import compose, models
from stockml.data.dataset import Data, prepare
from stockml.errors import UserError
from stockml.models.fitted_whole import FitContext
from stockml.models.tabular import Tabular
from stockml.training import checkpoint
from stockml.training.flat_parameters import FlatParameters
from tests.conftest import Run
from tests.models.drawn import Drawn
from tests.training.test_engine import Setting, config

ALL = list(models.BUILT_IN)
TRAINED = [name for name, family in models.BUILT_IN.items() if not family.fitted_whole]
OF_TENSORS = [name for name, family in models.BUILT_IN.items() if not family.one_cpu]
WINDOW, FEATURES = 16, 5


def built(name: str, window: int = WINDOW, features: int = FEATURES, seed: int = 0, **changes: Any) -> nn.Module:
    """The model at its defaults but for `changes`, in float64, in the mode for forecasting."""
    torch.manual_seed(seed)
    settings = dataclasses.replace(compose.compose(f"model={name}").model, **changes)
    return models.build(settings, window, features).double().eval()


def without_dropout(name: str) -> dict[str, Any]:
    return {"dropout": 0.0} if hasattr(compose.compose(f"model={name}").model, "dropout") else {}


def windows(n: int, window: int = WINDOW, features: int = FEATURES, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, window, features, generator=generator, dtype=torch.float64)


def some_steps(model: nn.Module, window: int = WINDOW, features: int = FEATURES) -> nn.Module:
    """The model after a few steps of training, or a fit, so that nothing in it stands at its start."""
    if isinstance(model, Tabular):
        context = FitContext(compose.compose().trainer, 1, 1, lambda _: None, lambda *_: False)
        model.fit_whole(*(Drawn(windows(n, window, features, n), model.days) for n in (800, 200)), context)  # type: ignore[operator]
        return model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for seed in range(3):
        optimizer.zero_grad()
        (model(windows(16, window, features, seed)) - 1).square().mean().backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("samples", [1, 7])
def test_each_window_has_one_forecast(name: str, samples: int) -> None:
    for features in (1, 5):
        model = built(name, features=features)
        assert model(windows(samples, features=features)).shape == (samples,)
        assert model.train()(windows(samples, features=features)).shape == (samples,)


@pytest.mark.parametrize("name", OF_TENSORS)
def test_every_parameter_has_a_gradient(name: str) -> None:
    model = some_steps(built(name))  # before the first step the output layer is zero
    model.zero_grad()
    (model(windows(16)) - 1).square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.count_nonzero(), parameter_name


@pytest.mark.parametrize("name", ALL)
def test_a_forecast_does_not_depend_on_the_samples_beside_it(name: str) -> None:
    model, x = some_steps(built(name)), windows(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(x[order]), model(x)[order], atol=1e-12)
    assert torch.allclose(model(x[:3]), model(x)[:3], atol=1e-12)
    assert not torch.allclose(model(x[:3]), model(x[3:6]), atol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_a_checkpoint_holds_the_whole_model(name: str) -> None:
    model = some_steps(built(name))
    content = checkpoint.to_bytes({"state_dict": dict(model.state_dict())})
    again = built(name, seed=5)
    assert not torch.allclose(again(windows(9)), model(windows(9)))
    again.load_state_dict(checkpoint.load(io.BytesIO(content))["state_dict"])
    assert torch.equal(again(windows(9)), model(windows(9)))


@pytest.mark.parametrize("name", OF_TENSORS)
def test_flat_parameters_are_the_model_s_own_and_are_restored_completely(name: str) -> None:
    """A state is copied, training continues, the state is restored: the forecasts are those of before, to the bit."""
    model = some_steps(built(name))
    unflattened = model(windows(9))
    parameters = FlatParameters(model)
    before = model(windows(9))
    assert torch.allclose(before, unflattened, rtol=0, atol=1e-12)  # rounding depends on where memory begins
    state = parameters.copy()
    some_steps(model)
    assert not torch.allclose(model(windows(9)), before)
    parameters.restore(state)
    assert torch.equal(model(windows(9)), before)
    assert all(b.is_floating_point() for b in model.buffers())  # others would not be restored


@pytest.mark.parametrize("name", ALL)
def test_training_starts_at_the_train_mean(name: str) -> None:
    model = built(name)
    assert torch.equal(model(windows(9)), torch.zeros(9, dtype=torch.float64))


@pytest.mark.parametrize("name", TRAINED)
def test_thirty_two_samples_are_fitted(name: str) -> None:
    days = 40  # NLinear has a weight a day, and must have more of them than samples
    model, x = built(name, days, **without_dropout(name)).float(), windows(32, days).float()
    y = windows(32, seed=2)[:, 0, 0].float()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()  # by the batch's own statistics; those gathered for forecasts are unbiased, and differ on so few
    for step in range(3000):
        optimizer.param_groups[0]["lr"] = 1e-2 if step < 300 else 2e-3
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        if loss < 1e-3 * y.var():
            return
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    pytest.fail("they were not")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models as small as these are slowed down by a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Modules whose output at a day may depend on nothing later, and how many days lie between two of their steps.
CAUSAL: dict[str, Callable[[nn.Module], Iterator[tuple[nn.Module, int]]]] = {
    "gru": lambda model: iter([(model.layers, 1)]),  # type: ignore[list-item]
    "lstm": lambda model: iter([(model.layers, 1)]),  # type: ignore[list-item]
    "tcn": lambda model: ((level, 2**number) for number, level in enumerate(model.levels)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("last_known", [2, 7, 14])
def test_a_hidden_state_does_not_depend_on_later_days(name: str, last_known: int) -> None:
    model, x = some_steps(built(name)), windows(4)
    changed = x.clone()
    changed[:, last_known + 1 :] = windows(4, seed=9)[:, last_known + 1 :]
    found: list[list[Tensor]] = [[], []]
    for states, given in zip(found, (x, changed), strict=True):
        hooks = [
            module.register_forward_hook(
                lambda _, __, out, kept=states: kept.append(out[0] if isinstance(out, tuple) else out.transpose(1, 2))
            )
            for module, _ in CAUSAL[name](model)
        ]
        model(given)
        for hook in hooks:
            hook.remove()
    steps = [days for _, days in CAUSAL[name](model)]
    assert len(found[0]) == len(steps)
    for days, one, other in zip(steps, *found, strict=True):
        day = WINDOW - 1 - days * torch.arange(one.shape[1]).flip(0)
        assert torch.equal(one[:, day <= last_known], other[:, day <= last_known])
        assert (one[:, day > last_known] != other[:, day > last_known]).any()


@pytest.fixture(scope="module")
def data() -> Data:
    return prepare(compose.compose("data.days=300", "data.window=20"))


@pytest.mark.parametrize("name", TRAINED)
def test_clipping_decay_and_huber_are_those_of_a_textbook_loop(data: Data, name: str) -> None:
    whole = config(optimizer="adamw", loss="huber", weight_decay=0.1, shuffle=False, grad_clip_norm=0.01, epochs=2)
    settings = dataclasses.replace(compose.compose(f"model={name}").model, **without_dropout(name))
    exact = dataclasses.replace(whole.hardware, precision="fp64")  # where a gradient is 0, its rounding is no step
    setting = Setting(data, dataclasses.replace(whole, model=settings, hardware=exact))
    torch.manual_seed(0)
    model = models.build(settings, data.panel.window, 5).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    for _ in range(2):
        for rows in setting.train.split(64):
            x, y = setting.batches.gather(rows)
            optimizer.zero_grad()
            nn.functional.huber_loss(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            optimizer.step()
    fit = setting.fit()
    FlatParameters(setting.model).restore(fit.weights)  # of the last epoch, not the best
    expected = model.state_dict()
    for key, value in setting.model.state_dict().items():
        assert torch.allclose(value, expected[key], atol=1e-6), key


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_an_epoch_on_real_bars(run: Run, market: Path, name: str, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    if device == "cuda" and name not in OF_TENSORS:
        pytest.skip(f"{name} computes on the CPU")
    settings = ["data=csv", f"data.dir={market / 'ohlcv'}", "data.start=2019-01-01"]
    settings += ["trainer.epochs=1"] if name in TRAINED else []
    settings += ["model.n_estimators=10"] if name in ("random_forest", "extra_trees") else []
    scores = run("a", f"model={name}", f"hardware={device}", *settings)
    assert scores["test"]["mse"] < 1.5 * scores["baselines"]["zero"]["test"]["mse"]


def gated(gates: int) -> Callable[[Any, int, int], int]:
    def count(c: Any, window: int, features: int) -> int:
        h = c.hidden_dim
        inputs = [features] + [h] * (c.layers - 1)
        return int(gates * sum(i * h + h * h + 2 * h for i in inputs) + h + 1)

    return count


def gkx(c: Any, window: int, features: int) -> int:
    widths = [window * features, *c.hidden_dims]
    return int(sum(a * b + 2 * b for a, b in itertools.pairwise(widths)) + widths[-1] + 1)


def tcn(c: Any, window: int, features: int) -> int:
    """A weight-normalised convolution has a length for each output channel beside its weights and biases."""
    count, inputs = c.channels + 1, features
    for _ in range(c.levels):
        count += inputs * c.channels * c.kernel_size + c.channels**2 * c.kernel_size + 4 * c.channels
        count += (inputs + 1) * c.channels if inputs != c.channels else 0
        inputs = c.channels
    return int(count)


def patchtst(c: Any, window: int, features: int) -> int:
    patches, d = (window - c.patch_length) // c.stride + 2, c.dim
    layer = 4 * (d * d + d) + 2 * d * c.ff_dim + c.ff_dim + d + 4 * d
    ends = 2 * features + c.patch_length * d + d + patches * d + patches * d + 1 + features + 1
    return int(c.layers * layer + ends)


def tsmixer(c: Any, window: int, features: int) -> int:
    block = 4 * window * features + window * window + window + 2 * features * c.ff_dim + c.ff_dim + features
    return int(c.blocks * block + window + 1 + features + 1)


def pooled(c: Any, window: int, features: int) -> int:
    return int((features + 2) * c.hidden_dim + 1)


def flattened(c: Any, window: int, features: int) -> int:
    return int((window * features + 2) * c.hidden_dim + 1)


def linear(c: Any, window: int, features: int) -> int:
    return window * features + 1


def dlinear(c: Any, window: int, features: int) -> int:
    return 2 * (window + 1) + features + 1


def nlinear(c: Any, window: int, features: int) -> int:
    return window + 1 + features + 1


FORMULAS: dict[str, Callable[[Any, int, int], int]] = {
    "mlp": pooled,
    "mlp_flat": flattened,
    "mlp_gkx": gkx,
    "ridge": linear,
    "linear": linear,
    "dlinear": dlinear,
    "nlinear": nlinear,
    "gru": gated(3),
    "lstm": gated(4),
    "tcn": tcn,
    "patchtst": patchtst,
    "tsmixer": tsmixer,
}


@pytest.mark.parametrize("name", ALL)
def test_the_number_of_parameters_is_that_of_its_formula(name: str) -> None:
    settings = compose.compose(f"model={name}").model
    for window, features in ((60, 5), (33, 1)):
        model = models.build(settings, window, features)
        expected = FORMULAS[name](settings, window, features) if name in OF_TENSORS else 0
        assert sum(p.numel() for p in model.parameters()) == expected


def test_a_window_too_short_for_a_patch_is_refused() -> None:
    with pytest.raises(UserError, match="patch_length: 10 days do not fit into a window of 9"):
        models.build(compose.compose("model=patchtst").model, 9, 5)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("model=mlp_gkx model.hidden_dims=[]", "model.hidden_dims: must list"),
        ("model=mlp_gkx model.hidden_dims=[8,0]", "model.hidden_dims: must list"),
        ("model=dlinear model.kernel_size=24", "model.kernel_size: 24 is even; it must be odd"),
        ("model=patchtst model.heads=5", "model.dim: 32 is not divisible by 5"),
        ("model=ridge model.alpha=0", "model.alpha=0: must be a number > 0 or auto"),
        ("model=lightgbm model.bagging_freq=1", "model.bagging_fraction: 1 with model.bagging_freq=1 has no effect"),
        ("model=lightgbm trainer.ensemble=2", "trainer.ensemble: model=lightgbm is the same with every seed"),
        ("model=lightgbm trainer=ddp", "trainer=ddp: model=lightgbm is fitted by one process"),
        ("model=svr hardware=cuda", "hardware.device=cuda: model=svr computes on the CPU; take hardware=cpu"),
        ("model=extra_trees trainer.loss=mae", "trainer.loss=mae: model=extra_trees cannot minimise it; it takes only"),
        ("model=sklearn", "model=sklearn: must be one of"),
    ],
)
def test_impossible_settings_are_refused(typed: str, says: str) -> None:
    with pytest.raises(UserError) as found:
        compose.compose(*typed.split())
    assert found.value.lines[0].startswith(says)
