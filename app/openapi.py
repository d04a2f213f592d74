"""Parts of the OpenAPI document that FastAPI cannot derive from the routes: the multipart form and the problems."""

from __future__ import annotations

import json
from typing import Any, Final

from app.core.dubs import MAX_DUBS
from app.core.jobs import JobOptions
from app.problems import PROBLEM_TYPE
from app.schemas import Problem

# As OpenAPI 3.1 describes files. Of `format: binary` schemathesis makes no wrong forms.
_FILES: Final[dict[str, str]] = {
    "video": "The video, or a still picture; needed, unless video_url or _upload is sent.",
    "audio": "The voice: a sound file, or a video with sound; needed, unless audio_url, _upload or segments is sent.",
    "audio_mix": "Optional sound that the output plays instead of the voice, for example voice with music.",
}


# The name of a file in brackets stands for its content.
BATCH_EXAMPLE: Final[dict[str, str]] = {
    "jobs": json.dumps(
        [
            {"video": "portrait", "audio": "english"},
            {"video": "portrait", "audio": "spanish", "options": {"sync_mode": "loop"}},
        ]
    ),
    "portrait": "(portrait.mp4)",
    "english": "(english.wav)",
    "spanish": "(spanish.wav)",
}

# A form has only texts. Beside `true` and `false` these stand for a boolean, as in forms of browsers.
_BOOLEAN_WORDS: Final = (0, 1, *"0 1 on off yes no y n t f".split())


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that can answer with problems of these HTTP statuses."""
    return {status: {"model": Problem, "description": "A problem; `code` names it."} for status in statuses}


def form_body() -> dict[str, Any]:
    """Return the `openapi_extra` of a route that receives the form of a job."""
    schema = JobOptions.model_json_schema()
    properties: dict[str, Any] = {
        name: {"type": "string", "contentMediaType": "application/octet-stream", "description": text}
        for name, text in _FILES.items()
    } | {name: _in_a_form(field) for name, field in schema["properties"].items()}
    properties["segments"] = {
        "type": "string",
        "contentMediaType": "application/json",
        "description": (
            f"{schema['properties']['segments']['description']} A list of up to {MAX_DUBS} entries: "
            '`[{"start_s": 1.5, "end_s": 4, "audio": NAME, "face": "index:0", "options": {...}}]`. A NAME is that of '
            "a file of this form (a further field of any name), or an address. `face` and `options` (strength, "
            "silence_gate, padding, on_missing_face) may be left out; then those of the job hold."
        ),
    }
    for name, text in _FILES.items():
        properties[f"{name}_url"] = {"type": "string", "description": f"Address of the file instead. {text}"}
        upload = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
        properties[f"{name}_upload"] = upload | {"description": f"Id of an upload (`POST /uploads`) instead. {text}"}
    # That video and audio are needed, each in one of three ways, stands in the words: few readers know `oneOf` here.
    form = {"type": "object", "properties": properties, "additionalProperties": False}
    content = {
        "schema": form,
        "encoding": {name: {"contentType": "application/json"} for name in ("metadata", "segments")},
        "example": {"video": "(portrait.mp4)", "audio": "(speech.wav)", "sync_mode": "loop", "crf": 20},
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


def batch_body() -> dict[str, Any]:
    """Return the `openapi_extra` of the route that receives the form of a batch."""
    properties = {
        "jobs": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": (
                'List of 1 to 500 jobs: `[{"video": NAME, "audio": NAME, "audio_mix": NAME, "options": {...}}]`. '
                "A NAME is that of a file of this form (any further field), an address, or `upload:ID`."
            ),
        },
        "webhook_url": {"type": "string", "description": "Address that is told when all jobs have ended."},
    }
    form = {"type": "object", "properties": properties, "required": ["jobs"], "additionalProperties": True}
    content = {"schema": form, "encoding": {"jobs": {"contentType": "application/json"}}, "example": BATCH_EXAMPLE}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field or parameter that may be left out, but in which no text means null."""
    kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    rest = {name: value for name, value in field.items() if name != "anyOf" and (name, value) != ("default", None)}
    return rest | kinds[0] if len(kinds) == 1 else field


def _in_a_form(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an option as a field of a form."""
    field = _without_null(field)
    if field.get("type") != "boolean":
        return field
    kinds = [{"type": "boolean"}, {"enum": list(_BOOLEAN_WORDS)}]
    return {name: value for name, value in field.items() if name != "type"} | {"anyOf": kinds}


def corrected(document: dict[str, Any]) -> dict[str, Any]:
    """Return FastAPI's document with the media type of problems, and without parameters that could be null."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _without_null(parameter["schema"])
            for response in operation["responses"].values():
                content = response.get("content", {})
                schema = content.get("application/json", {}).get("schema", {})
                if schema.get("$ref", "").endswith("/Problem"):
                    content[PROBLEM_TYPE] = content.pop("application/json")
    return document
