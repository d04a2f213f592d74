"""Pages of an evaluation, rendered from the templates in web/."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "web"


def render(template: str, **values: object) -> Markup:
    """Render a template. Every value is escaped, except one that is Markup."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704  the template escapes its values


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return the environment of all templates; a name that a template misses is an error."""
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
