"""Who a puppet may be: pictures of a folder, their identities, and who is held out.

Only pictures whose rights are clear are used: tiers 1 and 2 of the folder's INDEX.csv (bundled avatars and documented
outputs of generators), photo-like, and never the astronaut, who is a real person. Without a folder scikit-image's
astronaut is the only face, which is enough to see that everything works and for nothing else.

The folder's series are of very unequal size and look alike within themselves, so people are drawn by series first.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

HELD_OUT_SHARE = 8  # one identity in eight is held out


@dataclass(frozen=True)
class Person:
    """Name one identity with its pictures and the split it belongs to."""

    identity: str
    pictures: tuple[Path, ...]
    split: str

    @property
    def series(self) -> str:
        """Return the first word of the name and, where the second is one of two sexes, that too."""
        words = self.identity.split("_")
        return "_".join(words[:2]) if words[1:2] in (["man"], ["woman"]) else words[0]


def read_people(faces_dir: Path) -> list[Person]:
    """List the people of a folder with INDEX.csv whose pictures may be learnt from, in a fixed order.

    Raises FileNotFoundError without INDEX.csv, ValueError when no picture qualifies.
    """
    with (faces_dir / "INDEX.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if _may_learn_from(row)]
    found: dict[str, list[Path]] = {}
    for row in rows:
        path = faces_dir / row["file"]
        if path.is_file():
            found.setdefault(row["identity"], []).append(path)
    if not found:
        raise ValueError(f"no usable face among the pictures of {faces_dir}")
    return [
        Person(identity, tuple(sorted(paths)), "val" if _is_held_out(identity) else "train")
        for identity, paths in sorted(found.items())
    ]


def _may_learn_from(row: Mapping[str, str]) -> bool:
    return (
        row["tier"] in ("1", "2")
        and not row["file"].startswith("stylised/")
        and row["identity"] != "astronaut"
        and abs(float(row["yaw"] or 0)) <= 16
    )


def _is_held_out(identity: str) -> bool:
    return hashlib.sha256(identity.encode()).digest()[0] % HELD_OUT_SHARE == 0


def choose_person(people: list[Person], chance: np.random.Generator) -> Person:
    """Draw a person: first a series, by the square root of its size, then one of it."""
    series: dict[str, list[Person]] = {}
    for person in people:
        series.setdefault(person.series, []).append(person)
    groups = list(series.values())
    weights = np.sqrt([len(group) for group in groups])
    group = groups[chance.choice(len(groups), p=weights / weights.sum())]
    return group[chance.integers(len(group))]


def read_picture(path: Path) -> U8:
    """Return a picture file as (H, W, 3) uint8 RGB; raises ValueError when it is none."""
    read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if read is None:
        raise ValueError(f"{path.name} is not a picture")
    return np.asarray(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), np.uint8)


def astronaut_alone(out_dir: Path) -> Person:
    """Write scikit-image's astronaut under `out_dir`/sources and return that person."""
    from skimage.data import astronaut

    path = out_dir / "sources" / "astronaut.png"
    picture = np.asarray(astronaut(), np.uint8)[:360, 60:420]  # type: ignore[no-untyped-call]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return Person("astronaut", (path,), "train")
