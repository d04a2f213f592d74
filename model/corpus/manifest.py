"""Write down what a corpus is made of, `corpus.json`, so that no later build mixes another one into its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from model.corpus.materials.people import Person
from model.errors import MaterialError

NAME = "corpus.json"


def claim(out_dir: Path, seed: int, held_out: bool, people: Sequence[Person], recordings: Sequence[str]) -> None:
    """Claim a folder for a corpus of these people and recordings, or find it claimed for the same.

    The number of clips and voices is no part of it: a corpus may grow. Raises MaterialError where the folder holds
    clips that were made of something else.
    """
    asked = {
        "seed": seed,
        "held_out": held_out,
        "faces": {person.identity: [path.name for path in person.pictures] for person in people},
        "recordings": sorted(recordings),
    }
    path = out_dir / NAME
    if path.is_file() and _holds_clips(out_dir):
        known = _read(path)
        differing = [name for name, value in asked.items() if known.get(name) != value]
        if differing:
            others = ", ".join(differing)
            message = f"{out_dir} holds a corpus made otherwise (other {others}); name another folder or remove it"
            raise MaterialError(message)
        return
    partial = path.with_name(f".{NAME}.partial")
    partial.write_text(json.dumps(asked, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _holds_clips(out_dir: Path) -> bool:
    return any(any(out_dir.glob(f"{kind}_*/meta.json")) for kind in ("puppet", "voice"))


def _read(path: Path) -> dict[str, object]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MaterialError(f"{path} cannot be read ({error})") from error
    if not isinstance(known, dict):
        raise MaterialError(f"{path} does not say what the corpus is made of")
    return known
