"""Plain values become config dataclasses, and every problem with them is a line of its own."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from stockml.config.schema import Reader, bounded, incidental, is_incidental


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = bounded(least=1, most=8)
    share: float = bounded(above=0, below=1, default=0.5)

    def conflicts(self) -> Iterator[str]:
        if self.size == 7:
            yield "size: 7 is unlucky"


@dataclass(frozen=True, kw_only=True)
class Wider(Inner):
    depth: int


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    on: bool
    kind: Literal["fast", "slow"]
    day: datetime.date | None
    words: tuple[str, ...]
    kinds: tuple[Literal["fast", "slow"], ...] | Literal["all"]
    count: int | Literal["auto"] = bounded(least=1)
    inner: Inner
    maybe: Inner | None
    rate: float = incidental(least=0)
    note: str = field(default="")


VALUES: dict[str, Any] = {
    "name": "a",
    "on": True,
    "kind": "fast",
    "day": "2020-02-29",
    "words": ["x", "y"],
    "kinds": ["slow"],
    "count": "auto",
    "inner": {"size": 3},
    "maybe": None,
    "rate": 2,
}


def read(
    changes: Mapping[str, Any] | None = None,
    sections: Mapping[str, Any] | None = None,
    elsewhere: Callable[[str, str], str] = lambda _key, _path: "",
    without: str = "",
) -> tuple[Any, list[str]]:
    values = {key: value for key, value in {**VALUES, **(changes or {})}.items() if key != without}
    reader = Reader(sections or {}, elsewhere)
    return reader.read(Outer, values), reader.problems


def test_sound_values_become_fields_of_their_types_and_defaults_fill_the_rest() -> None:
    config, problems = read()
    assert problems == []
    assert config == Outer(
        name="a",
        on=True,
        kind="fast",
        day=datetime.date(2020, 2, 29),
        words=("x", "y"),
        kinds=("slow",),
        count="auto",
        inner=Inner(size=3, share=0.5),
        maybe=None,
        rate=2.0,
        note="",
    )
    assert type(config.rate) is float


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("name", 3, 'name=3: must be text; quote it: \'"…"\' on the command line, "…" in YAML'),
        ("name", None, "name=null: must be text"),
        ("on", 1, "on=1: must be true or false"),
        ("on", "true", "on=true: must be true or false"),
        ("kind", "fats", "kind=fats: must be one of fast, slow; did you mean fast?"),
        ("kind", "x", "kind=x: must be one of fast, slow"),
        ("day", "29.2.2020", "day=29.2.2020: must be a date, YYYY-MM-DD or null"),
        ("day", "2021-02-29", "day=2021-02-29: must be a date, YYYY-MM-DD or null"),
        ("words", "x", "words=x: must be a list of text"),
        ("words", ["x", 1], "words=[x, 1]: must be a list of text"),
        ("kinds", ["fats"], "kinds=[fats]: must be a list of fast, slow or all; did you mean fast?"),
        ("count", 0, "count=0: must be a whole number ≥ 1 or auto"),
        ("count", 1.5, "count=1.5: must be a whole number ≥ 1 or auto"),
        ("count", True, "count=true: must be a whole number ≥ 1 or auto"),
        ("rate", -0.1, "rate=-0.1: must be a number ≥ 0"),
        ("rate", float("nan"), "rate=nan: must be a number ≥ 0"),
        ("rate", float("inf"), "rate=inf: must be a number ≥ 0"),
        ("inner", {"size": 9}, "inner.size=9: must be a whole number ≥ 1 and ≤ 8"),
        ("inner", {"size": 3, "share": 1}, "inner.share=1: must be a number > 0 and < 1"),
        ("inner", {"size": 7}, "inner.size: 7 is unlucky"),
        ("inner", {}, "inner.size: missing"),
        ("inner", None, "inner=null: must be a group of settings, inner.<key>=…"),
        ("inner", 3, "inner=3: must be a group of settings, inner.<key>=…"),
        ("maybe", {"size": 0}, "maybe.size=0: must be a whole number ≥ 1 and ≤ 8"),
        ("nmae", 1, "nmae: no such key; did you mean name?"),
        ("inner", {"size": 3, "sizes": 1}, "inner.sizes: no such key; did you mean inner.size?"),
        ("inner", {"size": 3, "xyz": 1}, "inner.xyz: no such key; known here: size, share"),
    ],
)
def test_a_problem_says_where_it_is_and_what_is_allowed(key: str, value: Any, problem: str) -> None:
    assert read({key: value})[1] == [problem]


@pytest.mark.parametrize("key", [key for key in VALUES if key != "note"])
def test_a_field_without_a_default_must_be_given(key: str) -> None:
    assert read(without=key) == (None, [f"{key}: missing"])


def test_all_problems_are_reported_at_once() -> None:
    config, problems = read({"name": 1, "kind": "x", "inner": {"size": 0, "share": 2}, "other": 1}, without="on")
    assert config is None
    assert [problem.partition(":")[0].partition("=")[0] for problem in problems] == [
        *("other", "name", "on", "kind", "inner.size", "inner.share"),
    ]


def test_bounds_that_are_open_exclude_their_ends() -> None:
    assert read({"inner": {"size": 8, "share": 0.999}})[1] == []
    assert read({"inner": {"size": 1, "share": 0.0}})[1] == ["inner.share=0.0: must be a number > 0 and < 1"]


def test_an_optional_section_is_read_like_any_other_when_it_is_given() -> None:
    assert read({"maybe": {"size": 2}})[0].maybe == Inner(size=2)


def test_a_section_is_of_the_class_that_its_kind_asks_for() -> None:
    config, problems = read({"inner": {"size": 2, "depth": 4}}, {"inner": Wider})
    assert (config.inner, problems) == (Wider(size=2, depth=4), [])


def test_a_section_of_unknown_class_is_not_read_and_adds_no_problem_of_its_own() -> None:
    assert read({"inner": {"whatever": 1}}, {"inner": None}) == (None, [])


def test_an_unknown_key_that_belongs_elsewhere_gets_that_hint() -> None:
    hint = "; did you mean deep.qqq?"
    assert read({"qqq": 1}, elsewhere=lambda key, path: f"; did you mean deep.{path}{key}?")[1] == [
        f"qqq: no such key{hint}"
    ]


def test_a_field_says_itself_that_it_is_incidental() -> None:
    assert [spec.name for spec in dataclasses.fields(Outer) if is_incidental(spec)] == ["rate"]
