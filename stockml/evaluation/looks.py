"""What a look at test scores shows once all looks at the same days are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stockml.evaluation.multiple_testing import holm
from stockml.evaluation.significance import HINT_LEVEL, SHOWN_LEVEL


def largest_p_value(significance: Mapping[str, Any], test: str) -> float | None:
    """The p-value of beating every rival by a test (Berger 1982), given what metrics.json says; None if undefined."""
    found = [of[test]["p_value"] for of in significance["against"].values() if test in of]
    return None if not found or None in found else max(found)


def corrected(p_values: Sequence[float | None], own: int) -> float | None:
    """The p-value of the look `own`, counted from 0, corrected for all of them by Holm (1979); None if undefined."""
    return None if p_values[own] is None else holm([1.0 if p is None else p for p in p_values])[own]


def corrected_skill(skill: str, diebold_mariano: float | None, clark_west: float | None) -> str:
    """The word for a model's skill by the verdict's levels, given that of this look alone and its corrected p-values.

    A skill is never more than that of the look alone; that a model is worse stays said.
    """
    if skill == "shown" and diebold_mariano is not None and diebold_mariano < SHOWN_LEVEL:
        return "shown"
    if skill in ("shown", "hinted"):
        return "hinted" if clark_west is not None and clark_west < HINT_LEVEL else "not shown"
    return skill


def sentence(looks: Mapping[str, Any], days: str) -> str:
    """What a verdict says of a look, given what metrics.json says; `days` names what was looked at."""
    if looks.get("placebo") is not None:
        return f"This is placebo copy {looks['placebo']} of the data, in which nothing can be forecast."
    if looks["ledger"] is None:
        return f"Looks at these {days} were not counted (looks=off)."
    ledger = looks["ledger"].rpartition("/")[2]
    if looks["of"] == 1:
        text = f"This was the first look at these {days} ({ledger})."
    else:
        of = f" of {looks['of']}" if looks["of"] > looks["look"] else ""
        p = "is undefined" if looks["p_value"] is None else f"= {looks['p_value']:.2g}"
        text = (
            f"This was look {looks['look']}{of} at these {days} ({ledger}); corrected for all of them, p {p}: "
            f"{_PLAIN.get(looks['skill'], looks['skill'])}."
        )
    if not looks["same_forecasts"]:
        text += " The same settings have forecast otherwise before: other code, versions or hardware."
    return text if looks["sound"] else f"{text} The ledger is damaged, and may lack looks: task=looks says where."


_PLAIN = {"shown": "skill is shown", "hinted": "skill is hinted at", "worse": "the model is worse"}
