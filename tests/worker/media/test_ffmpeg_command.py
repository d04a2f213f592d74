from __future__ import annotations

from pathlib import Path

import pytest

from app.core.probing.probe import find_ffmpeg
from worker.media.ffmpeg_command import media_threads, short_queue


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (16, 16), (256, 16)])
def test_threads_of_an_ffmpeg_are_bounded(cores: int, threads: int) -> None:
    assert media_threads(cores) == threads


def test_an_option_that_an_ffmpeg_does_not_know_is_left_out(tmp_path: Path) -> None:
    older = tmp_path / "older-ffmpeg"
    older.write_text(
        f'#!/bin/sh\ncase "$*" in *nullsrc*-thread_queue_size*) exit 1;; esac\nexec {find_ffmpeg(None)} "$@"\n'
    )
    older.chmod(0o755)
    assert short_queue(str(older)) == {}
    assert short_queue(str(tmp_path / "missing")) == {}
    assert short_queue(find_ffmpeg(None)) in ({}, {"thread_queue_size": 1})
