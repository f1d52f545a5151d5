"""Models agree with slow implementations in plain loops over float64, written from the papers' formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.models.test_every_model import built, some_steps, windows

Array = NDArray[np.float64]
Weights = dict[str, Array]


def linear(w: Weights, name: str, x: Array) -> Array:
    out = np.zeros(len(w[f"{name}.bias"]))
    for unit, bias in enumerate(w[f"{name}.bias"]):
        out[unit] = bias + sum(a * b for a, b in zip(w[f"{name}.weight"][unit], x, strict=True))
    return out


def batch_norm(w: Weights, name: str, x: Array) -> Array:
    """As it forecasts: by the statistics gathered in training."""
    deviation = np.sqrt(w[f"{name}.variance"] + 1e-5)
    return (x - w[f"{name}.mean"]) / deviation * w[f"{name}.weight"] + w[f"{name}.bias"]


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def dlinear(w: Weights, x: Array) -> float:
    days, features = x.shape
    of_features = np.zeros(features)
    for f in range(features):
        trend = [np.mean([x[min(max(t + k, 0), days - 1), f] for k in range(-12, 13)]) for t in range(days)]
        rest = [x[t, f] - trend[t] for t in range(days)]
        of_features[f] = (linear(w, "trend", np.array(trend)) + linear(w, "rest", np.array(rest)))[0]
    return float(linear(w, "output", of_features)[0])


def nlinear(w: Weights, x: Array) -> float:
    of_features = [linear(w, "days", x[:, f] - x[-1, f])[0] for f in range(x.shape[1])]
    return float(linear(w, "output", np.array(of_features))[0])


def tcn(w: Weights, x: Array) -> float:
    """At every day, with dilations 1, 2, 4 and 8."""

    def convolved(name: str, x: Array, dilation: int) -> Array:
        lengths, directions = (w[f"{name}.parametrizations.weight.original{i}"] for i in (0, 1))
        outs, _, taps = directions.shape
        y = np.zeros((len(x), outs))
        for t in range(len(x)):
            for out in range(outs):
                kernel = directions[out] * lengths[out] / np.sqrt((directions[out] ** 2).sum())
                y[t, out] = w[f"{name}.bias"][out]
                for tap in range(taps):
                    day = t - dilation * (taps - 1 - tap)
                    if day >= 0:
                        y[t, out] += kernel[:, tap] @ x[day]
        return y

    for level in range(4):
        around = x
        if f"levels.{level}.around.weight" in w:
            kernel = w[f"levels.{level}.around.weight"][:, :, 0]
            around = np.array([kernel @ day + w[f"levels.{level}.around.bias"] for day in x])
        y = relu(convolved(f"levels.{level}.first", x, 2**level))
        y = relu(convolved(f"levels.{level}.second", y, 2**level))
        x = relu(y + around)
    return float(linear(w, "output", x[-1])[0])


def patchtst(w: Weights, x: Array) -> float:
    days, features = x.shape
    length, stride, heads, dim = 10, 5, 4, 32
    of_features = []
    for f in range(features):
        series = (x[:, f] - x[:, f].mean()) / math.sqrt(x[:, f].var() + 1e-5) * w["scale"][f] + w["offset"][f]
        series = np.array([*series, *[series[-1]] * stride])
        starts = range(0, days + stride - length + 1, stride)
        tokens = [linear(w, "embedding", series[s : s + length]) + w["position"][i] for i, s in enumerate(starts)]
        for layer in range(2):
            name = f"layers.{layer}"
            projected = [linear(w, f"{name}.queries_keys_values", token) for token in tokens]
            attended = []
            for query in projected:
                found = []
                for head in range(heads):
                    q, k, v = (slice(part * dim + head * 8, part * dim + (head + 1) * 8) for part in range(3))
                    scores = np.array([query[q] @ key[k] / math.sqrt(8) for key in projected])
                    shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
                    found.append(sum(share * value[v] for share, value in zip(shares, projected, strict=True)))
                attended.append(linear(w, f"{name}.attended", np.concatenate(found)))
            tokens = [batch_norm(w, f"{name}.norms.0", t + a) for t, a in zip(tokens, attended, strict=True)]
            for i, token in enumerate(tokens):
                wide = linear(w, f"{name}.wide", token)
                gelu = np.array([u * (1 + math.erf(u / math.sqrt(2))) / 2 for u in wide])
                tokens[i] = batch_norm(w, f"{name}.norms.1", token + linear(w, f"{name}.narrow", gelu))
        of_features.append(linear(w, "patches", np.concatenate(tokens))[0])
    return float(linear(w, "output", np.array(of_features))[0])


def tsmixer(w: Weights, x: Array) -> float:
    days, features = x.shape
    for block in range(2):
        name = f"blocks.{block}"
        normalised = batch_norm(w, f"{name}.norms.0", x.flatten()).reshape(x.shape)
        x = x + np.stack([relu(linear(w, f"{name}.days", normalised[:, f])) for f in range(features)], axis=1)
        normalised = batch_norm(w, f"{name}.norms.1", x.flatten()).reshape(x.shape)
        wide = [relu(linear(w, f"{name}.wide", normalised[t])) for t in range(days)]
        x = x + np.stack([linear(w, f"{name}.narrow", units) for units in wide])
    of_features = [linear(w, "days", x[:, f])[0] for f in range(features)]
    return float(linear(w, "output", np.array(of_features))[0])


REFERENCES: dict[str, Callable[[Weights, Array], float]] = {
    "dlinear": dlinear,
    "nlinear": nlinear,
    "tcn": tcn,
    "patchtst": patchtst,
    "tsmixer": tsmixer,
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("window", [60, 43])
def test_a_model_computes_its_paper_s_formulas(name: str, window: int) -> None:
    changes: dict[str, Any] = {"channels": 6} if name == "tcn" else {}  # the loops are slow
    model = some_steps(built(name, window=window, features=3, **changes), window, 3)
    x = windows(2, window, 3, seed=4)
    weights = {key: value.numpy() for key, value in model.state_dict().items()}
    expected = [REFERENCES[name](weights, sample) for sample in x.numpy()]
    assert np.allclose(model(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
