"""The features of a voice, kept in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.speech_encoder.port import FEATURES, feature_count
from worker.media.encoded_voice import FEATURES_FILE, encode_voice


class CountingEncoder:
    """Speech encoder whose features are the number of their step."""

    name = "counting"

    def encode(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        for first in range(0, feature_count(len(samples)), 40):
            steps = np.arange(first, min(first + 40, feature_count(len(samples))))
            yield np.repeat(steps[:, None], FEATURES, axis=1).astype(np.float32)


def test_the_features_lie_in_a_file_in_half_precision(tmp_path: Path) -> None:
    checks: list[int] = []
    sound = encode_voice(CountingEncoder(), np.zeros(32_001, np.int16), tmp_path, lambda: checks.append(1))
    assert sound.features.dtype == np.float16 and sound.features.shape == (101, FEATURES)
    np.testing.assert_array_equal(sound.features[:, 5], np.arange(101))
    assert (tmp_path / FEATURES_FILE).stat().st_size == 101 * FEATURES * 2
    assert len(checks) == 3, "a job can be stopped between two parts"


def test_a_job_that_is_cancelled_stops_encoding(tmp_path: Path) -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        encode_voice(CountingEncoder(), np.zeros(64_000, np.int16), tmp_path, stop)
