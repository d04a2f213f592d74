"""What pydantic finds wrong with a request, as plain sentences that show nothing of what was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel

# By pydantic's kind of error; the braces are filled with the limits of the field.
_REASONS: Final[dict[str, str]] = {
    "missing": "this field is required",
    "extra_forbidden": "there is no such field",
    "json_invalid": "must be valid JSON",
    "json_type": "must be valid JSON",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "string_type": "must be a text",
    "string_unicode": "must be a text of whole Unicode characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
}


def reason_of(fault: Mapping[str, Any]) -> str:
    """Return what is wrong, without a full stop; fault: an entry of `ValidationError.errors()` with its context."""
    template = _REASONS.get(fault["type"])
    if template is not None:
        return template.format(**{name: _plain(value) for name, value in fault.get("ctx", {}).items()})
    message = str(fault["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be", "must be")


def names_beside(place: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    """Return the fields that may stand at a place: of the model that the path of names and numbers leads to."""
    for part in place[:-1]:
        if isinstance(part, str):
            inner = _model_in(model.model_fields[part].annotation) if part in model.model_fields else None
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in a type such as `tuple[Model, ...]` or `Model | None`, None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner)) is not None), None)


def _plain(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)
