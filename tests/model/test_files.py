"""A replaced file is the old one or the new one, and nothing else is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.files import replacing


def test_the_new_content_takes_the_place_of_the_old_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    for text in ("old", "new"):
        with replacing(path) as partial:
            partial.write_text(text)
            assert not path.exists() or path.read_text() == "old"
        assert path.read_text() == text
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_after_an_error_the_old_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), replacing(path) as partial:
        partial.write_text("new")
        raise RuntimeError("half way")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"] and path.read_text() == "old"
