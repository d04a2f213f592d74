"""Typed configs: wrong values are refused in one sentence, also by `dataclasses.replace`."""

from __future__ import annotations

from dataclasses import field, replace
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from model.typed_config import STRICT, ImageSize, config_from


@dataclass(frozen=True, config=STRICT)
class Inner:
    size: ImageSize = 96
    share: Annotated[float, Field(ge=0, le=1)] = 0.5


@dataclass(frozen=True, config=STRICT)
class Outer:
    kind: Literal["a", "b", "c"]
    inner: Inner = field(default_factory=Inner)
    name: str = ""
    count: Annotated[int, Field(ge=2)] = 2

    @model_validator(mode="after")
    def _check_together(self) -> Outer:
        if self.name == self.kind:
            raise ValueError("name and kind must differ")
        return self


def test_tables_become_a_config_and_missing_values_have_their_defaults() -> None:
    assert config_from(Outer, {"kind": "b", "inner": {"share": 1}}) == Outer("b", Inner(96, 1.0))


def nested(depth: int) -> list[Any]:
    """Return a list in a list in a list, and so on."""
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "kind is missing"),
        ({"kind": "z"}, "kind must be a, b or c, not 'z'"),
        ({"kind": date(2020, 1, 1)}, "no value may be a date, as 2020-01-01 is"),
        ({"kind": "\ud800"}, "its values cannot be read"),
        ({"kind": "a", "inner": nested(300)}, "its values cannot be read"),
        ({"kind": "a", "nam": "x"}, "nam is not known"),
        ({"kind": "a", "iner": {}}, r"\[iner\] is not known"),
        ({"kind": "a", "inner": 3}, r"\[inner\] must be a table, not 3"),
        ({"kind": "a", "inner": {"sice": 3}}, "inner.sice is not known"),
        ({"kind": "a", "inner": {"size": 100}}, "inner.size must be a multiple of 16 from 32 to 1024, not 100"),
        ({"kind": "a", "inner": {"share": float("nan")}}, "inner.share must be a finite number from 0 to 1, not nan"),
        ({"kind": "a", "count": 1}, "count must be a whole number of at least 2, not 1"),
        ({"kind": "a", "count": True}, "count must be a whole number of at least 2, not True"),
        ({"kind": "a", "count": 3.0}, "count must be a whole number of at least 2, not 3.0"),
        ({"kind": "a", "name": 3}, "name must be a text, not 3"),
        ({"kind": "a", "name": "a"}, "name and kind must differ"),
    ],
)
def test_the_first_wrong_value_is_named_with_what_is_allowed(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        config_from(Outer, values)


def test_replaced_values_are_checked_too() -> None:
    config = Outer("a")
    assert replace(config, count=3).count == 3
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        replace(config, count=1)
    with pytest.raises(ValueError, match="name and kind must differ"):
        replace(config, name="a")
