"""Settings of what runs share. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LooksConfig:
    """The ledger of looks at test scores."""

    record: bool
    """Whether a look is counted."""
    path: str | None
    """The ledger's file; None: looks.jsonl beside outputs/ and multirun/."""
