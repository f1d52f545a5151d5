"""Where stockml's own config files are."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
CONF = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if (p / "config.yaml").is_file())
"""Beside the package in a checkout, inside it where it is installed."""
