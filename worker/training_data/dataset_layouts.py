"""Find the videos of a folder and the identity of each speaker, in the layouts of known data sets.

GRID: sX/NAME.mpg, or sX/video/mpg_6000/NAME.mpg, its text in align/NAME.align. LRS2: SPEAKER/NAME.mp4 with NAME.txt.
HDTF: PERSON_NUMBER.mp4, all in one folder. Other folders are read in the same way: the identity is the name of the
nearest folder that has no generic name. For a file at the top, the identity is the file name without its number.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from app.core.errors import ErrorCode, InputError
from model.corpus.speech.transcripts import spoken_words
from worker.media.decode import VIDEO_SUFFIXES

GENERIC_FOLDERS: Final = frozenset({"video", "videos", "mpg_6000", "mpg", "mp4", "clips", "main", "pretrain", "train"})
NUMBER: Final = re.compile(r"[_-]?\d+$")
PAUSES: Final = frozenset({"sil", "sp"})


@dataclass(frozen=True)
class Film:
    """Video file with a unique name, the identity of its speaker, and its text if there is one."""

    path: Path
    name: str
    identity: str
    words: str | None


def find_films(folder: Path) -> list[Film]:
    """Return the videos under a folder, sorted by path. Raises InputError if there is none."""
    if not folder.is_dir():
        raise InputError(ErrorCode.OPTION_INVALID, f"There is no folder {folder}.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    if not paths:
        raise InputError(ErrorCode.OPTION_INVALID, f"{folder} holds no video.")
    return [Film(path, _name(folder, path), _identity(folder, path), _words(path)) for path in paths]


def choose_splits(
    identities: set[str], share: float, seed: int, known: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return the split of each identity: a share of them is held out for validation, the same for the same seed.

    An identity in `known` keeps its split. Each other identity is decided alone, so identities that are added later
    change nothing. If none of several identities would be held out, the first one in the order of the seed is held out.
    """
    places = {identity: _place(identity, seed) for identity in identities - known.keys()}
    held_out = {identity for identity, place in places.items() if place < share}
    if not held_out and "val" not in known.values() and places and len(identities | known.keys()) > 1 and share > 0:
        held_out = {min(places, key=lambda identity: places[identity])}
    chosen = {identity: "val" if identity in held_out else "train" for identity in places}
    return chosen | {identity: known[identity] for identity in identities & known.keys()}


def known_splits(out_dir: Path) -> dict[str, str]:
    """Return the split of each identity that has clips. Raises InputError for an identity in both splits."""
    known: dict[str, str] = {}
    for path in sorted(out_dir.glob("*/meta.json")):
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            identity, split = str(meta["identity"]), str(meta["split"])
        except (KeyError, TypeError, ValueError):
            if path.parent.name.startswith("voice_"):  # a voice without a face has no identity
                continue
            raise InputError(ErrorCode.OPTION_INVALID, f"{path} does not say who is shown.") from None
        if known.setdefault(identity, split) != split and not path.parent.name.startswith("puppet_"):
            message = f"{out_dir} holds clips of {identity} in both splits; remove some or name another folder."
            raise InputError(ErrorCode.OPTION_INVALID, message)
    return known


def _place(identity: str, seed: int) -> float:
    """Return the number in 0..1 that a seed gives to an identity."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{identity}".encode()).digest()[:8], "big") / 2**64


def _name(folder: Path, path: Path) -> str:
    """Return a name that is unique among the files of the folder."""
    digest = hashlib.sha256(path.relative_to(folder).as_posix().encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', path.stem)[:40]}_{digest}"


def _identity(folder: Path, path: Path) -> str:
    for part in reversed(path.relative_to(folder).parts[:-1]):
        if part.lower() not in GENERIC_FOLDERS:
            return part
    return NUMBER.sub("", path.stem) or path.stem


def _words(path: Path) -> str | None:
    """Return the text of a video: from an .align file of GRID, else from `spoken_words`."""
    name = f"{path.stem}.align"
    for folder in (path.parent, *(parent / "align" for parent in list(path.parents)[:3])):
        if (folder / name).is_file():
            rows = [line.split() for line in (folder / name).read_text("utf-8", "replace").splitlines()]
            return " ".join(row[2] for row in rows if len(row) == 3 and row[2] not in PAUSES) or None
    return spoken_words(path)
