"""Ridge regression from sums equals a textbook ridge, which holds all windows at once."""

from __future__ import annotations

import pytest
import torch

from stockml.models import ridge


@pytest.fixture
def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, 3, generator=generator, dtype=torch.float64) + 0.5
    y = x.flatten(1) @ torch.randn(12, generator=generator, dtype=torch.float64) + 2
    return x, y + torch.randn(300, generator=generator, dtype=torch.float64)


def sums(x: torch.Tensor, y: torch.Tensor, batch: int) -> ridge.Sums:
    return ridge.Sums.over(zip(x.split(batch), y.split(batch), strict=True), 12)


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1000.0])
def test_it_solves_the_penalised_normal_equations(samples: tuple[torch.Tensor, torch.Tensor], alpha: float) -> None:
    x, y = samples
    fitted = ridge.fit(sums(x, y, 64), sums(x, y, 64), [alpha])
    flat = x.flatten(1)
    centred, target = flat - flat.mean(0), y - y.mean()
    expected = torch.linalg.solve(centred.T @ centred + alpha * torch.eye(12, dtype=torch.float64), centred.T @ target)
    assert torch.allclose(fitted.weights, expected, rtol=1e-8)
    assert torch.allclose(fitted.forecast(x).mean(), y.mean())  # the intercept is not penalised


def test_the_batch_size_has_no_effect(samples: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = samples
    whole, single = (ridge.fit(sums(x, y, b), sums(x, y, b)) for b in (300, 1))
    assert torch.allclose(whole.weights, single.weights, rtol=1e-9)


def test_alpha_is_chosen_by_the_squared_error_on_validation(samples: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = samples
    train, validation = (x[:200], y[:200]), (x[200:], y[200:])
    chosen = ridge.fit(sums(*train, 64), sums(*validation, 64))
    errors = {
        alpha: float(
            (ridge.fit(sums(*train, 64), sums(*train, 64), [alpha]).forecast(x[200:]) - y[200:]).square().sum()
        )
        for alpha in ridge.ALPHAS
    }
    assert chosen.alpha == min(errors, key=errors.__getitem__)
