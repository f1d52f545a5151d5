"""Random numbers by purpose: each stream is seeded by what it is for, never by how many numbers were drawn before."""

from __future__ import annotations

import numpy as np

# What a stream is for. Without it, equal seeds would make equal streams.
INITIALISATION, ORDER, DROPOUT, PERMUTATION = 1, 2, 3, 4


def stream_seed(purpose: int, *numbers: int) -> int:
    """The seed of the stream for a purpose and further numbers, such as the run's seed, the epoch and the rank.

    Trailing zeros make no difference: (purpose, 5) and (purpose, 5, 0) have the same seed.
    """
    return int(np.random.SeedSequence((purpose, *numbers)).generate_state(1, np.uint64)[0]) >> 1
