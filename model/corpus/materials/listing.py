"""Read the INDEX.csv of a folder of pictures or recordings."""

from __future__ import annotations

import csv
from pathlib import Path

from model.errors import MaterialError

INDEX = "INDEX.csv"


def read_index(folder: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of a folder's INDEX.csv; a missing value is "".

    Raises MaterialError if the file cannot be read or lacks one of the columns.
    """
    path = folder / INDEX
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="")
            rows = list(reader)
    except FileNotFoundError:
        raise MaterialError(f"{folder} holds no {INDEX}, or is not there") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MaterialError(f"{path} cannot be read as CSV ({error})") from error
    absent = [name for name in columns if name not in (reader.fieldnames or ())]
    if absent:
        raise MaterialError(f"{path} has no column {' and no '.join(absent)}")
    return rows
