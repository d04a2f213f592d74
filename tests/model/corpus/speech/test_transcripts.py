"""Words are found beside a clip or in a name of the GRID corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.corpus.speech.transcripts import spoken_words


@pytest.mark.parametrize(
    ("name", "beside", "words"),
    [
        ("bbaf2n.mpg", None, "bin blue at f two now"),
        ("grid_swiz3n.mpg", None, "set white in z three now"),
        ("brbk7n.mp4", None, "bin red by k seven now"),
        ("zzzzzz.mp4", None, None),
        ("interview.mp4", None, None),
        ("00001.mp4", "Text:  HELLO AGAIN\nConf: 3\n", "hello again"),
        ("00002.mp4", "", None),
    ],
)
def test_words_come_from_a_text_beside_or_a_grid_name(
    name: str, beside: str | None, words: str | None, tmp_path: Path
) -> None:
    if beside is not None:
        (tmp_path / name).with_suffix(".txt").write_text(beside)
    assert spoken_words(tmp_path / name) == words
