"""A short sample of the campaign that counts how many planted faults the doctor finds with the right cause."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from stockml.data.bars import PRICES
from stockml.data.doctor import examine
from tests.campaigns import doctor

SERIES = 4 * len(doctor.FAULTS)


def test_planted_faults_are_found_on_their_day_with_their_cause() -> None:
    hits = [hit for of_fault in doctor.found(SERIES, [], seed=7).values() for hit in of_fault]
    assert len(hits) == SERIES
    assert np.mean([named for _, named in hits]) >= 0.95


@pytest.mark.parametrize("pair", list(itertools.combinations(PRICES, 2)))
@pytest.mark.parametrize("first", [0, 150])
def test_two_swapped_columns_are_named(pair: tuple[str, str], first: int) -> None:
    bars = doctor.simulated(np.random.default_rng(3))
    one, other = pair
    columns = {name: values.copy() for name, values in bars.columns.items()}
    columns[one][first:], columns[other][first:] = bars.columns[other][first:], bars.columns[one][first:]
    found = examine(dataclasses.replace(bars, columns=columns))
    if pair == ("open", "close"):
        assert first or "open and close swapped" in {of.check for of in found}
    else:
        (swapped,) = (of for of in found if of.check == "columns swapped")
        assert swapped.value.startswith(f"{one} and {other}: ")
        assert first <= swapped.row < first + 5


def test_highs_that_are_now_and_then_below_the_close_are_not_swapped() -> None:
    bars = doctor.simulated(np.random.default_rng(3))
    high = bars.columns["high"].copy()
    high[::20] = np.minimum(high, bars.columns["close"])[::20] * 0.999
    found = examine(dataclasses.replace(bars, columns=bars.columns | {"high": high}))
    assert {of.check for of in found} <= {"above the high", "high below low"}


def test_clean_series_have_at_most_one_warning_per_decade() -> None:
    for number in range(8):
        assert doctor.warnings_of(doctor.simulated(np.random.default_rng([7, number])))[1] <= 1


def test_a_cause_is_right_only_with_its_factor() -> None:
    is_right = doctor.names(0.01, "another unit")
    assert is_right("× 0.0101 overnight, about 1/100: another unit: pence")
    assert not is_right("× 0.0101 overnight, about 100: another unit: pence")
    assert not is_right("× 0.0101 overnight, about 1/107: another unit: pence")
    assert not is_right("× 0.0101 overnight, about 1/100")
