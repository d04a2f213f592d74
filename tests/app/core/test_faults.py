from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import InputError
from app.core.faults import reason_of
from app.core.options import options_from_text


class Order(BaseModel):
    """A model with a field of each kind that requests have."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str = Field("", min_length=1, max_length=3, pattern="^[a-z]+$")
    number: int = Field(0, gt=0, lt=10)
    share: float = Field(0.5, ge=0, le=0.5)
    entries: tuple[int, ...] = Field((), max_length=2)
    listed: Annotated[list[int], Field(min_length=1)] = Field([1])
    below: dict[str, Any] = Field({})
    inner: Order | None = None
    kind: Literal["a", "b", "c"] = "a"
    is_on: bool = True


FAULTS = [
    ({"color": 1}, "there is no such field"),
    ({"name": 1}, "must be a text"),
    ({"name": ""}, "must have at least 1 characters"),
    ({"name": "abcd"}, "must have at most 3 characters"),
    ({"name": "A"}, "must match the pattern ^[a-z]+$"),
    ({"number": "x"}, "must be a whole number"),
    ({"number": 1.5}, "must be a whole number"),
    ({"number": []}, "must be a whole number"),
    ({"number": 0}, "must be more than 0"),
    ({"number": 10}, "must be less than 10"),
    ({"share": "x"}, "must be a number"),
    ({"share": float("nan")}, "must be a finite number"),
    ({"share": -1}, "must be at least 0"),
    ({"share": 1}, "must be at most 0.5"),
    ({"entries": {"a": 1}}, "must be a list"),
    ({"entries": [1, 2, 3]}, "must have at most 2 entries"),
    ({"listed": 1}, "must be a list"),
    ({"listed": []}, "must have at least 1 entries"),
    ({"below": []}, "must be a JSON object"),
    ({"inner": 3}, "must be a JSON object"),
    ({"kind": "d"}, "must be 'a', 'b' or 'c'"),
    ({"is_on": "maybe"}, "must be true or false"),
    ({"is_on": []}, "must be true or false"),
]


@pytest.mark.parametrize(("values", "reason"), FAULTS)
def test_faults_are_plain_sentences(values, reason):
    with pytest.raises(ValidationError) as caught:
        Order.model_validate(values)
    assert reason_of(caught.value.errors()[0]) == reason


STRETCH = {"start_s": 0, "end_s": 1, "audio": "a"}
UNKNOWN = "there is no such field; the fields are"
OPTIONS = [
    ({"segments": '{"a": 1}'}, "segments: must be a list."),
    ({"segments": "[1]"}, "segments[0]: must be a JSON object."),
    (
        {"segments": json.dumps([STRETCH | {"voice": "b"}])},
        "segments[0].voice: there is no",
    ),
    ({"segments": json.dumps([{"start_s": 0, "end_s": 1}])}, "segments[0].audio: this field is required."),
    ({"crf": "99"}, "crf: must be at most 40."),
    ({"crf": "high"}, "crf: must be a whole number."),
    ({"sync_mode": "x"}, "sync_mode: must be 'cut_off', 'loop', 'bounce', 'silence' or 'remap'."),
    ({"start_s": "2", "end_s": "1"}, "end_s must be greater than start_s."),
]


@pytest.mark.parametrize(("texts", "sentence"), OPTIONS)
def test_wrong_options_are_told_in_plain_sentences(texts, sentence):
    with pytest.raises(InputError) as caught:
        options_from_text(texts)
    assert caught.value.message.startswith(sentence)
