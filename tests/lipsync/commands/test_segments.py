"""The file that `--segments` names."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from app.core.errors import InputError
from lipsync.commands.options import check_has_voice, read_segments


def entry(audio: object) -> dict[str, object]:
    return {"start_s": 0, "end_s": 1, "audio": audio}


def test_files_lie_beside_the_list_and_addresses_stay(tmp_path: Path) -> None:
    path = tmp_path / "segments.json"
    names = ["a.wav", "sub/b.wav", "https://host/c.wav", "a.wav", str(tmp_path / "d.wav")]
    path.write_text(json.dumps([entry(name) for name in names]))
    text, voices = read_segments(path)
    assert text is not None
    assert [one["audio"] for one in json.loads(text)] == ["voice-0", "voice-1", names[2], "voice-0", "voice-2"]
    places = [tmp_path / "a.wav", tmp_path / "sub/b.wav", tmp_path / "d.wav"]
    assert voices == {f"voice-{number}": place for number, place in enumerate(places)}
    assert read_segments(None) == (None, {})


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_a_list_that_is_no_json_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "segments.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="segments: must be a file with JSON"):
        read_segments(path)
    with pytest.raises(InputError, match="segments: cannot be read"):
        read_segments(tmp_path / "absent.json")


@pytest.mark.parametrize("entries", [1, "x", [1], [{}], [entry(7)], [entry("")]])
def test_what_is_no_entry_is_left_to_the_check_of_the_option(tmp_path: Path, entries: object) -> None:
    path = tmp_path / "segments.json"
    path.write_text(json.dumps(entries))
    assert read_segments(path) == (json.dumps(entries), {})


@pytest.mark.parametrize(("audio", "segments"), [(None, None), (Path("a"), Path("s"))])
def test_there_is_one_voice_or_a_list(audio: Path | None, segments: Path | None) -> None:
    check_has_voice(Path("a"), None)
    check_has_voice(None, Path("s"))
    with pytest.raises(click.UsageError):
        check_has_voice(audio, segments)
