"""What the default weights learn from: a table of facts, `sources.csv`, one line a file.

Only what may be learnt from is listed: bundled AI avatars (tier 1), documented outputs of generators (tier 2), and
recordings with transcripts that are in the public domain or under MIT or CC-BY. A line says where the file comes from
(repository, commit, path; for a video its frame and the box that was cut out), under which licence, and its sha256:
of the file itself as it was learnt from, and of its original where that is known. `fetch.py` gets them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TABLE = Path(__file__).with_name("sources.csv")
DEBIAN = "debian:"  # a package instead of a repository; its version stands for the commit
_INDEX_COLUMNS = {
    "faces": ("identity", "tier", "yaw"),
    "avatars": ("identity", "tier"),
    "speech": ("lang", "transcript"),
}
_ORIGIN_COLUMNS = ("licence", "repository", "commit", "path", "note")


@dataclass(frozen=True)
class Material:
    """Name one file to learn from.

    file: its place under the folder of materials. frame: of the video that `path` is, else None. box: x, y, width and
    height in pixels of the part of the picture, None where it is found by the face. sha256: of the file that the
    shipped weights have seen; source_sha256: of the original, "" where it is not known. facts: every column as text.
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
        """Return faces, avatars or speech."""
        return self.file.split("/", 1)[0]

    @property
    def is_packaged(self) -> bool:
        """Tell whether the original lies inside a Debian package."""
        return self.repository.startswith(DEBIAN)


def read_materials(table: Path = TABLE) -> list[Material]:
    """Read the table, in its order."""
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
    """Write the INDEX.csv of each folder for these materials, as people.py and recordings.py read it."""
    listed = list(materials)
    for folder, columns in _INDEX_COLUMNS.items():
        mine = [material for material in listed if material.folder == folder]
        if not mine:
            (out_dir / folder / "INDEX.csv").unlink(missing_ok=True)
            continue
        partial = out_dir / folder / ".INDEX.csv.partial"
        with partial.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow(["file", *columns, *_ORIGIN_COLUMNS])
            for material in mine:
                values = [material.facts[name] for name in (*columns, *_ORIGIN_COLUMNS)]
                writer.writerow([material.file.split("/", 1)[1], *values])
        partial.replace(out_dir / folder / "INDEX.csv")
