from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.audio import SAMPLE_RATE_HZ
from model.silence_gate import STEP, gate_gain
from tests.sounds import buzz, s16
from worker.media.silence_gate import GATED_FILE, gate_silence, levels_db


def voice(length_s: float, amplitude: float, noise: float = 0.0) -> np.ndarray:
    sound = buzz(length_s, amplitude)
    return s16(sound + noise * np.random.default_rng(0).standard_normal(len(sound)))


def open_share(samples: np.ndarray) -> float:
    return float(gate_gain(levels_db(samples), samples).mean())


@pytest.mark.parametrize("loud", [0.5, 0.05, 0.01])
@pytest.mark.parametrize("noise", [0.0, 0.0005])
def test_speech_stays_and_pauses_go(loud: float, noise: float) -> None:
    samples = np.concatenate([voice(1.0, 0.0, noise), voice(1.0, loud, noise), voice(1.0, 0.0, noise)])
    gain = gate_gain(levels_db(samples), samples)
    assert gain[100:200].all()
    assert not gain[:85].any()
    assert not gain[220:].any()


@pytest.mark.parametrize(
    "samples", [np.zeros(16_000, np.int16), np.full(16_000, 9000, np.int16), np.array([5], np.int16)]
)
def test_what_does_not_sound_is_silence(samples: np.ndarray) -> None:
    assert open_share(samples) == 0.0


def test_an_empty_recording_has_no_levels_and_stays_empty(tmp_path: Path) -> None:
    empty = np.zeros(0, np.int16)
    assert levels_db(empty).shape == gate_silence(empty, tmp_path).shape == (0,)
    assert (tmp_path / GATED_FILE).read_bytes() == b""


def test_steady_speech_is_not_taken_for_noise() -> None:
    assert open_share(voice(2.0, 0.3)) == 1.0


def test_a_short_pause_stays_open() -> None:
    samples = np.concatenate([voice(0.5, 0.3), voice(0.1, 0.0), voice(0.5, 0.3)])
    assert open_share(samples) == 1.0


def test_the_file_is_gated_and_speech_is_untouched(tmp_path: Path) -> None:
    samples = np.concatenate([voice(1.0, 0.0, 0.001), voice(0.5, 0.4), voice(1.0, 0.0, 0.001)])[:-37]
    gated = np.array(gate_silence(samples, tmp_path))
    assert gated.shape == samples.shape
    assert not gated[: 80 * STEP].any()
    assert np.array_equal(gated[100 * STEP : 150 * STEP], samples[100 * STEP : 150 * STEP])
    assert not gated[-60 * STEP :].any()


def test_an_hour_of_sound_on_disk_does_not_stay_in_memory(tmp_path: Path) -> None:
    size = 60 * 60 * SAMPLE_RATE_HZ
    path = tmp_path / "hour.s16"
    with path.open("wb") as file:
        file.truncate(2 * size)
    samples = np.memmap(path, np.int16, "r")
    before_kb = resident_kb()
    gated = gate_silence(samples, tmp_path)
    assert len(gated) == len(samples) == size
    assert resident_kb() - before_kb < 60_000, "the samples are 115 MB"


def resident_kb() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])
