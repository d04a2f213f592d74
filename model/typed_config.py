"""What all typed configs share: strict checks of their values, and one sentence for the first wrong value.

A config is a frozen pydantic dataclass. `dataclasses.replace` therefore checks the new values as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
ImageSize = Annotated[int, Field(ge=32, le=1024, multiple_of=16)]  # pixels; four times halved it is still whole
Width = Annotated[float, Field(ge=0.25, le=8)]  # factor on a network's channels

_Config = TypeVar("_Config")
_NOUNS = {"integer": "a whole number", "number": "a finite number", "boolean": "true or false", "string": "a text"}


def config_from(kind: type[_Config], values: Mapping[str, object]) -> _Config:
    """Build a config from the tables of a TOML or JSON file.

    Raises ValueError with one sentence: which value, what is allowed, and what was found.
    """
    adapter = TypeAdapter(kind)
    try:
        # In strict mode pydantic accepts a table for a nested config from JSON only.
        return adapter.validate_json(json.dumps(values, default=_refuse))
    except ValidationError as error:
        raise ValueError(_sentence(error, adapter.json_schema())) from error


def _refuse(value: object) -> object:
    """Refuse a value that TOML has and JSON lacks, such as a date."""
    raise ValueError(f"no value may be a {type(value).__name__}, as {value} is")


def _sentence(error: ValidationError, schema: Mapping[str, Any]) -> str:
    fault = error.errors(include_url=False)[0]
    name, found = ".".join(str(part) for part in fault["loc"]), fault["input"]
    match fault["type"]:
        case "missing":
            return f"{name} is missing"
        case "unexpected_keyword_argument":
            return f"[{name}] is not known" if isinstance(found, dict) else f"{name} is not known"
        case "dataclass_type":
            return f"[{name}] must be a table, not {found!r}"
        case "value_error":  # raised by a config's own check, whose sentence names the value
            return str(fault["ctx"]["error"])
        case "json_invalid":  # nested too deep, or text that is not Unicode
            return "its values cannot be read"
        case _:
            return f"{name} must be {_allowed(schema, fault['loc'])}, not {found!r}"


def _allowed(schema: Mapping[str, Any], path: tuple[int | str, ...]) -> str:
    """Return what the JSON schema allows at a path, in words."""
    field = schema
    for name in path:
        field = field["properties"][name]
        if "$ref" in field:
            field = schema["$defs"][field["$ref"].rpartition("/")[2]]
    if "enum" in field:
        return f"{', '.join(field['enum'][:-1])} or {field['enum'][-1]}"
    noun = f"a multiple of {field['multipleOf']}" if "multipleOf" in field else _NOUNS[field["type"]]
    low, high = field.get("minimum"), field.get("maximum")
    if high is not None:
        return f"{noun} from {low} to {high}"
    return noun if low is None else f"{noun} of at least {low}"
