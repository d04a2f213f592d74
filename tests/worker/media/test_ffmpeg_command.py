from __future__ import annotations

import pytest

from worker.media.ffmpeg_command import media_threads


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (16, 16), (256, 16)])
def test_threads_of_an_ffmpeg_are_bounded(cores: int, threads: int) -> None:
    assert media_threads(cores) == threads
