"""What the best of many trials is worth: the deflated Sharpe ratio, and the probability of backtest overfitting."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import numpy as np

from stockml.evaluation.significance import Floats

BLOCKS = 16
"""Of the days, half of them chosen in each of 12,870 ways (Bailey, Borwein, López de Prado & Zhu 2017)."""
_LEAST_DAYS = 4 * BLOCKS
_AT_ONCE = 1_000_000  # Sharpe ratios in memory
_NORMAL = NormalDist()
_CONSTANT = 1e-12


def sharpe(returns: Floats) -> Floats:
    """(…,) the Sharpe ratios of daily returns (D, …), per day; 0 where they are constant."""
    deviation = returns.std(axis=0, ddof=1)
    found: Floats = np.where(deviation > _CONSTANT, returns.mean(axis=0) / np.maximum(deviation, _CONSTANT), 0.0)
    return found


def expected_maximum(trials: int, variance: float) -> float:
    """The Sharpe ratio that the best of so many trials without skill is expected to have.

    √V ((1−γ) Φ⁻¹(1 − 1/N) + γ Φ⁻¹(1 − 1/(N e))), V the variance of the trials' Sharpe ratios, γ Euler's constant
    (Bailey & López de Prado 2014, equation 1). 0 for a single trial.
    """
    if trials < 2:
        return 0.0
    first, second = (_NORMAL.inv_cdf(1 - 1 / n) for n in (trials, trials * math.e))
    return math.sqrt(variance) * ((1 - np.euler_gamma) * first + np.euler_gamma * second)


def probabilistic_sharpe(found: float, benchmark: float, days: int, skew: float, kurtosis: float) -> float:
    """The probability that a Sharpe ratio lies above a benchmark, both per day (Bailey & López de Prado 2012).

    Φ((ŜR − SR*) √(T−1) / √(1 − γ₃ ŜR + (γ₄−1)/4 ŜR²)); a normal distribution has a kurtosis γ₄ of 3.
    """
    variance = 1 - skew * found + (kurtosis - 1) / 4 * found**2
    return _NORMAL.cdf((found - benchmark) * math.sqrt((days - 1) / variance))


def deflated_sharpe(returns: Floats, trials: int) -> list[float | None]:
    """For each job, the probability that its Sharpe ratio is above 0 once the number of trials is allowed for.

    `returns` are the jobs', daily, (D, M); their Sharpe ratios have the variance of all trials. It is the probabilistic
    Sharpe ratio against `expected_maximum` (Bailey & López de Prado 2014). None where a job's returns are constant.
    """
    found = sharpe(returns)
    benchmark = expected_maximum(trials, float(found.var(ddof=1)) if len(found) > 1 else 0.0)
    centred = returns - returns.mean(axis=0)
    second, third, fourth = ((centred**power).mean(axis=0) for power in (2, 3, 4))
    return [
        probabilistic_sharpe(float(own), benchmark, len(returns), float(m3 / m2**1.5), float(m4 / m2**2))
        if m2 > _CONSTANT**2
        else None
        for own, m2, m3, m4 in zip(found, second, third, fourth, strict=True)
    ]


def probability_of_overfitting(returns: Floats, blocks: int = BLOCKS) -> float | None:
    """How often the job with the best Sharpe ratio on half of the days is in the lower half of the jobs on the others.

    Combinatorially symmetric cross-validation (Bailey, Borwein, López de Prado & Zhu 2017): the share of choices of
    half of the blocks in which λ = ln(ω/(1−ω)) ≤ 0, ω = rank/(M+1) the best job's rank on the other days; equal jobs
    share the mean of their ranks. `returns` are daily, (D, M); the first days that fill no block are left out. None for
    fewer than two jobs or 64 days.
    """
    days, jobs = returns.shape
    if jobs < 2 or days < _LEAST_DAYS:
        return None
    size = days // blocks
    # The variance does not depend on the mean, whose square would cost digits.
    centre = returns.mean(axis=0)
    by_block = (returns[days - size * blocks :] - centre).reshape(blocks, size, jobs)
    sums, squares = by_block.sum(axis=1), np.square(by_block).sum(axis=1)
    chosen = np.array(list(itertools.combinations(range(blocks), blocks // 2)))
    half, below = size * blocks // 2, 0
    for part in np.array_split(chosen, math.ceil(len(chosen) * jobs / _AT_ONCE)):
        inside = np.zeros((len(part), blocks))
        np.put_along_axis(inside, part, 1.0, axis=1)
        before, after = (_sharpe_of_sums(mask @ sums, mask @ squares, half, centre) for mask in (inside, 1 - inside))
        best = np.take_along_axis(after, before.argmax(axis=1)[:, None], axis=1)
        rank = (after < best).sum(axis=1) + ((after == best).sum(axis=1) + 1) / 2
        below += int((rank <= (jobs + 1) / 2).sum())
    return below / len(chosen)


def _sharpe_of_sums(sums: Floats, squares: Floats, n: int, centre: Floats) -> Floats:
    variance = np.maximum(0, squares - sums**2 / n) / (n - 1)
    found: Floats = np.where(
        variance > _CONSTANT**2, (sums / n + centre) / np.sqrt(np.maximum(variance, _CONSTANT**2)), 0.0
    )
    return found
