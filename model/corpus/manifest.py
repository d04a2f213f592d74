"""The manifest of a corpus, `corpus.json`: what the corpus is made of.

A later build compares it with what it was asked for, so that two corpora never mix in one folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from model.corpus.materials.people import Person
from model.errors import MaterialError
from model.files import replacing

NAME = "corpus.json"


def write_manifest(
    out_dir: Path, seed: int, held_out: bool, people: Sequence[Person], recordings: Sequence[str]
) -> None:
    """Write the manifest of a corpus, or check it if the folder already holds clips.

    The number of clips and voices is not in the manifest, because a corpus may grow. Raises MaterialError if the folder
    holds clips of another corpus.
    """
    wanted = {
        "seed": seed,
        "held_out": held_out,
        "faces": {person.identity: [path.name for path in person.pictures] for person in people},
        "recordings": sorted(recordings),
    }
    path = out_dir / NAME
    if path.is_file() and _holds_clips(out_dir):
        known = _read(path)
        differing = [name for name, value in wanted.items() if known.get(name) != value]
        if differing:
            others = ", ".join(differing)
            message = f"{out_dir} holds a corpus made otherwise (other {others}); name another folder or remove it"
            raise MaterialError(message)
        return
    with replacing(path) as partial:
        partial.write_text(json.dumps(wanted, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _holds_clips(out_dir: Path) -> bool:
    """Return whether a folder holds any clip."""
    return any(any(out_dir.glob(f"{kind}_*/meta.json")) for kind in ("puppet", "voice"))


def _read(path: Path) -> dict[str, object]:
    """Return a manifest. Raises MaterialError."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MaterialError(f"{path} cannot be read ({error})") from error
    if not isinstance(known, dict):
        raise MaterialError(f"{path} does not say what the corpus is made of")
    return known
