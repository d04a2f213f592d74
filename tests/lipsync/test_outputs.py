"""Commands that write a video refuse a wrong output before they do anything: here no service and no worker runs."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from lipsync.__main__ import main


def wrong_outputs(folder):
    """Make the inputs, and yield wrong outputs by what is wrong with them."""
    for name in ("video.mp4", "voice.mp4"):
        (folder / name).write_bytes(b"input")
    os.link(folder / "video.mp4", folder / "same.mp4")
    (folder / "link.mp4").symlink_to(folder / "voice.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "null.mp4").symlink_to("/dev/null")
    return {
        "the input": folder / "video.mp4",
        "the input by another name": folder / "same.mp4",
        "a link to an input": folder / "link.mp4",
        "a pipe": folder / "pipe.mp4",
        "a link to a device": folder / "null.mp4",
        "in no folder": folder / "none" / "out.mp4",
    }


@pytest.mark.parametrize("command", [["sync"], ["submit", "--url", "http://127.0.0.1:9"]])
def test_a_wrong_output_is_refused_before_any_work(command, tmp_path):
    outputs = wrong_outputs(tmp_path)
    inputs = ["--video", str(tmp_path / "video.mp4"), "--audio", str(tmp_path / "voice.mp4")]
    before = {path.name: os.lstat(path).st_ino for path in tmp_path.iterdir()}
    for kind, output in outputs.items():
        ended = CliRunner().invoke(main, [*command, *inputs, "--output", str(output)])
        assert ended.exit_code == 2, kind
        assert ended.stderr.startswith("error: option_invalid: output ") and ended.stderr.count("\n") == 1, kind
    assert {path.name: os.lstat(path).st_ino for path in tmp_path.iterdir()} == before
    assert (tmp_path / "video.mp4").read_bytes() == (tmp_path / "voice.mp4").read_bytes() == b"input"
