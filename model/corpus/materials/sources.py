"""The table of the materials that the default weights were trained on: `sources.csv`, one line for each file.

Only files with clear rights are listed: bundled AI avatars (tier 1), documented outputs of generators (tier 2), and
recordings with transcripts that are in the public domain or under MIT or CC-BY. A line says where a file comes from
(repository, commit, path, and for a video the frame and the box that was cut out) and its licence. It also gives the
sha256 of the file that was used for training, and of its original if that is known. `fetch.py` gets the files.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.corpus.materials.listing import INDEX
from model.files import replacing

TABLE = Path(__file__).with_name("sources.csv")
DEBIAN = "debian:"  # marks a Debian package instead of a repository; its version stands in the column "commit"
_INDEX_COLUMNS = {
    "faces": ("identity", "tier", "yaw"),
    "avatars": ("identity", "tier"),
    "speech": ("lang", "transcript"),
}
_ORIGIN_COLUMNS = ("licence", "repository", "commit", "path", "note")


@dataclass(frozen=True)
class Material:
    """One file of the training materials.

    file: its path under the folder of materials. path: that of the original in its repository or package. frame: number
    of the frame, if the original is a video. box: x, y, width and height in pixels of the part that is cut out; None if
    the part is found by the face in it. sha256: of the file that the shipped weights were trained on. source_sha256: of
    the original, "" if it is not known. facts: every column as text.
    """

    file: str
    kind: Literal["face", "avatar", "speech"]
    repository: str
    commit: str
    path: str
    frame: int | None
    box: tuple[int, int, int, int] | None
    sha256: str
    source_sha256: str
    facts: dict[str, str]

    @property
    def folder(self) -> str:
        """Return the folder of the file: faces, avatars or speech."""
        return self.file.split("/", 1)[0]

    @property
    def is_packaged(self) -> bool:
        """Return whether the original is inside a Debian package."""
        return self.repository.startswith(DEBIAN)


def read_materials(table: Path = TABLE) -> list[Material]:
    """Return the rows of the table, in order."""
    with table.open(newline="", encoding="utf-8") as lines:
        return [_material(row) for row in csv.DictReader(lines)]


def _material(row: dict[str, str]) -> Material:
    sides = [row[name] for name in ("x", "y", "width", "height")]
    box = (int(sides[0]), int(sides[1]), int(sides[2]), int(sides[3])) if all(sides) else None
    kinds: dict[str, Literal["face", "avatar", "speech"]] = {"face": "face", "avatar": "avatar", "speech": "speech"}
    return Material(
        file=row["file"],
        kind=kinds[row["kind"]],
        repository=row["repository"],
        commit=row["commit"],
        path=row["path"],
        frame=int(row["frame"]) if row["frame"] else None,
        box=box,
        sha256=row["sha256"],
        source_sha256=row["source_sha256"],
        facts=row,
    )


def write_indexes(out_dir: Path, materials: Iterable[Material]) -> None:
    """Write the INDEX.csv of each folder, for people.py and recordings.py; a folder without materials has none."""
    listed = list(materials)
    for folder, columns in _INDEX_COLUMNS.items():
        path = out_dir / folder / INDEX
        mine = [material for material in listed if material.folder == folder]
        if not mine:
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow(["file", *columns, *_ORIGIN_COLUMNS])
            for material in mine:
                values = [material.facts[name] for name in (*columns, *_ORIGIN_COLUMNS)]
                writer.writerow([material.file.split("/", 1)[1], *values])
