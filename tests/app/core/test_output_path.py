from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.errors import ErrorCode, InputError
from app.core.output_path import checked_output, ending_on_signals, partial_path


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film")
    return path


def refusal(output: Path, *inputs: Path) -> str:
    """Return the sentence with which the output is refused."""
    with pytest.raises(InputError) as caught:
        checked_output(output, inputs)
    assert caught.value.code is ErrorCode.OPTION_INVALID
    return caught.value.message


@pytest.mark.parametrize(
    "name", ["12:30.mp4", "-out.mp4", "a b%d.MP4", "clip.m4v", "über'.mp4", os.fsdecode(b"\xff.mp4")]
)
def test_names_that_are_accepted(tmp_path: Path, film: Path, name: str) -> None:
    assert checked_output(tmp_path / name, [film]) == tmp_path.resolve() / name
    assert sorted(tmp_path.iterdir()) == [film]


@pytest.mark.parametrize("name", ["out.webm", "out.mov", "out", "mp4", ".mp4", "out.mp4.gz"])
def test_a_name_that_promises_no_mp4_is_refused(tmp_path: Path, name: str) -> None:
    assert "must end in .mp4 or .m4v" in refusal(tmp_path / name)


LINKS: dict[str, Callable[[Path, Path], object]] = {
    "symbolic": lambda path, film: path.symlink_to(film),
    "hard": lambda path, film: path.hardlink_to(film),
    "relative": lambda path, film: path.symlink_to(film.name),
}


@pytest.mark.parametrize("kind", LINKS)
def test_an_output_that_is_the_input_is_refused(tmp_path: Path, film: Path, kind: str) -> None:
    other = tmp_path / "other.mp4"
    LINKS[kind](other, film)
    assert "replace the input" in refusal(film, film)
    assert "replace the input" in refusal(other, film)
    assert "replace the input" in refusal(film, tmp_path / "absent.wav", other)
    assert film.read_bytes() == b"film"


def test_an_input_under_the_partial_name_is_not_overwritten(tmp_path: Path, film: Path) -> None:
    partial = film.rename(partial_path(tmp_path / "out.mp4"))
    assert "replace the input" in refusal(tmp_path / "out.mp4", partial)
    partial.unlink()
    partial.symlink_to("/dev/null")
    assert "not a regular file" in refusal(tmp_path / "out.mp4")


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    pipe, folder, device = tmp_path / "pipe.mp4", tmp_path / "folder.mp4", tmp_path / "device.mp4"
    os.mkfifo(pipe)
    folder.mkdir()
    device.symlink_to("/dev/full")
    for path in (pipe, folder, device):
        assert "not a regular file" in refusal(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.mp4"))
        assert "not a regular file" in refusal(tmp_path / "s.mp4")


def test_a_link_to_a_file_is_followed(tmp_path: Path, film: Path) -> None:
    link, dangling = tmp_path / "link.mp4", tmp_path / "dangling.mp4"
    link.symlink_to(film)
    dangling.symlink_to("new.mp4")
    assert checked_output(link, []) == film.resolve()
    assert checked_output(dangling, []) == tmp_path.resolve() / "new.mp4"


def test_folders_and_names_that_cannot_be_written(tmp_path: Path, film: Path) -> None:
    loop = tmp_path / "loop.mp4"
    loop.symlink_to(loop)
    assert "there is no folder" in refusal(tmp_path / "absent" / "out.mp4")
    assert "there is no folder" in refusal(film / "out.mp4")
    assert "too long" in refusal(tmp_path / f"{'x' * 240}.mp4")
    assert "cannot be written" in refusal(loop) or "not a regular file" in refusal(loop)
    assert "cannot be written" in refusal(Path("/proc/out.mp4"))
    assert "\udcff" not in refusal(tmp_path / os.fsdecode(b"\xff.webm"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_program_through_its_contexts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught, ending_on_signals():
        os.kill(os.getpid(), number)
        time.sleep(10)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
