"""Routes of the two web pages: the form and the API description; neither page loads files from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

_WEB: Final = Path(__file__).resolve().parents[1] / "web"
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}

router = APIRouter(include_in_schema=False)


@cache
def _page(name: str) -> str:
    return (_WEB / name).read_text(encoding="utf-8")


@router.get("/")
def index() -> HTMLResponse:
    """Return the page with the form for a new job."""
    return HTMLResponse(_page("index.html"), headers=_HEADERS)


@router.get("/docs")
def docs() -> HTMLResponse:
    """Return the page that shows the OpenAPI document."""
    return HTMLResponse(_page("docs.html"), headers=_HEADERS)
