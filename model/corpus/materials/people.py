"""People for puppets: the pictures of a folder by identity, and which identities are held out.

Only pictures with clear rights are used: those of tiers 1 and 2 in the folder's INDEX.csv, which are bundled avatars
and documented outputs of generators. Stylised pictures are left out, and so is the astronaut, because she is a real
person. Without a folder, scikit-image's astronaut is the only face. That is enough to try the code, but not to train.

The series of a folder differ much in size, and the people of one series look alike. So a series is drawn first, then a
person of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from model.arrays import U8
from model.corpus.materials.listing import INDEX, read_index
from model.errors import ClipError, MaterialError

HELD_OUT_EVERY = 8  # one identity in eight is held out
MAX_YAW_DEG = 16


@dataclass(frozen=True)
class Person:
    """Identity with its pictures and its split, "train" or "val"."""

    identity: str
    pictures: tuple[Path, ...]
    split: str

    @property
    def series(self) -> str:
        """Return the first word of the identity, and also the second one if it is "man" or "woman"."""
        words = self.identity.split("_")
        return "_".join(words[:2]) if words[1:2] in (["man"], ["woman"]) else words[0]


def read_people(faces_dir: Path) -> list[Person]:
    """List the people of a folder with INDEX.csv whose pictures may be used, in a fixed order.

    If there are several people, each split has at least one. Raises MaterialError if INDEX.csv cannot be used or no
    picture qualifies.
    """
    found: dict[str, list[Path]] = {}
    for row in read_index(faces_dir, ("file", "identity", "tier", "yaw")):
        path = faces_dir / row["file"]
        if _may_learn_from(row, faces_dir) and path.is_file():
            found.setdefault(row["identity"], []).append(path)
    if not found:
        raise MaterialError(f"no usable face among the pictures of {faces_dir}")
    return _in_both_splits(
        [
            Person(identity, tuple(sorted(paths)), "val" if _is_held_out(identity) else "train")
            for identity, paths in sorted(found.items())
        ]
    )


def _in_both_splits(people: list[Person]) -> list[Person]:
    """Move one person to the other split if all of several people are in one: the one with the smallest hash."""
    splits = {person.split for person in people}
    if len(people) < 2 or len(splits) > 1:
        return people
    moved = min(people, key=lambda person: _hash(person.identity))
    other = "train" if moved.split == "val" else "val"
    return [replace(person, split=other) if person == moved else person for person in people]


def _may_learn_from(row: Mapping[str, str], faces_dir: Path) -> bool:
    """Return whether the rights of a picture are clear and its face looks at the camera. Raises MaterialError."""
    try:
        yaw_deg = float(row["yaw"] or 0)
    except ValueError:
        message = f"{faces_dir / INDEX} gives {row['file']} the yaw {row['yaw']!r}, which is no number"
        raise MaterialError(message) from None
    return (
        row["tier"] in ("1", "2")
        and not row["file"].startswith("stylised/")
        and row["identity"] != "astronaut"
        and abs(yaw_deg) <= MAX_YAW_DEG
    )


def _is_held_out(identity: str) -> bool:
    return _hash(identity)[0] % HELD_OUT_EVERY == 0


def _hash(identity: str) -> bytes:
    return hashlib.sha256(identity.encode()).digest()


def choose_person(people: list[Person], rng: np.random.Generator) -> Person:
    """Draw a series with a chance in proportion to the square root of its size, then a person of it."""
    series: dict[str, list[Person]] = {}
    for person in people:
        series.setdefault(person.series, []).append(person)
    groups = list(series.values())
    weights = np.sqrt([len(group) for group in groups])
    group = groups[rng.choice(len(groups), p=weights / weights.sum())]
    return group[rng.integers(len(group))]


def read_picture(path: Path) -> U8:
    """Return a picture file as (H, W, 3) uint8 RGB. Raises ClipError if the file is not a picture."""
    try:
        read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):  # missing, empty, or too large to open
        read = None
    if read is None:
        raise ClipError(f"{path.name} is not a picture")
    return np.asarray(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), np.uint8)


def astronaut_alone(out_dir: Path) -> Person:
    """Return the astronaut as a person whose picture lies in `out_dir`/sources."""
    return Person("astronaut", (out_dir / "sources" / "astronaut.png",), "train")


def draw_astronaut(person: Person) -> None:
    """Write scikit-image's astronaut to the path of that person's picture."""
    from skimage.data import astronaut

    (path,) = person.pictures
    picture = np.asarray(astronaut(), np.uint8)[:360, 60:420]  # type: ignore[no-untyped-call]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
