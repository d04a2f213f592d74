"""Runtimes with known speeds and outputs are measured as what they are."""

from __future__ import annotations

import numpy as np
import pytest

from model.checkpoint_config import PUBLISHED_WAV2LIP, CheckpointConfig
from model.runtimes.measure import BUDGET_S, LEAST_PASSES, MOST_PASSES, Kind, Open, example_batch, measure
from model.runtimes.port import Drawn

CONFIG = CheckpointConfig(image_size=32, width=0.25)
COUNT = 4


class Clock:
    """Clock that only the runtimes move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedRuntime:
    """Runtime that takes the given seconds for each pass in turn, and draws the reference, brighter by some levels."""

    name, precision, device_name = "torch", "fp32", "cpu"

    def __init__(self, clock: Clock, seconds: list[float], brighter: int = 0) -> None:
        self._clock, self._seconds, self._brighter, self.passes = clock, seconds, brighter, 0

    def draw(self, faces, sound, movements) -> Drawn:
        self._clock.now += self._seconds[min(self.passes, len(self._seconds) - 1)]
        self.passes += 1
        return Drawn(np.minimum(faces[..., 3:], 200) + np.uint8(self._brighter))

    def hear(self, sound):
        return None

    def release(self) -> None:
        pass


def test_speed_is_that_of_the_fastest_pass_and_errors_are_results():
    clock = Clock()

    def broken():
        raise RuntimeError("illegal\n instruction")

    slow, fast = TimedRuntime(clock, [9.0, 0.5, 0.2, 0.4]), TimedRuntime(clock, [0.1, 0.05], brighter=3)
    kinds: dict[Kind, Open] = {
        ("torch", "fp32"): lambda: slow,
        ("openvino", "fp32"): broken,
        ("openvino", "bf16"): lambda: fast,
    }
    exact, failed, rough = measure(kinds, example_batch(CONFIG, COUNT), clock)
    assert exact.crops_per_s == pytest.approx(COUNT / 0.2) and exact.psnr_db is None and not exact.flaw
    assert failed.error == "illegal instruction" and failed.crops_per_s == 0
    assert rough.crops_per_s == pytest.approx(COUNT / 0.05)
    assert rough.psnr_db == pytest.approx(10 * np.log10(255**2 / 9), rel=1e-3) and "PSNR" in rough.flaw


def test_without_the_exact_one_no_other_is_known_to_draw_well():
    def broken():
        raise MemoryError

    kinds: dict[Kind, Open] = {
        ("torch", "fp32"): broken,
        ("openvino", "fp32"): lambda: TimedRuntime(Clock(), [0.1], brighter=50),
    }
    exact, other = measure(kinds, example_batch(CONFIG, COUNT), Clock())
    assert exact.flaw == "MemoryError" and "torch in fp32 failed" in other.flaw


@pytest.mark.parametrize(("seconds", "passes"), [(BUDGET_S * 2, LEAST_PASSES), (BUDGET_S / 1000, MOST_PASSES)])
def test_the_time_is_bounded(seconds, passes):
    runtime = TimedRuntime(Clock(), [seconds])
    measure({("torch", "fp32"): lambda: runtime}, example_batch(CONFIG, 1), runtime._clock)
    assert runtime.passes == passes + 1  # one to see what it draws


@pytest.mark.parametrize("config", [CONFIG, PUBLISHED_WAV2LIP])
def test_the_example_is_always_the_same_and_looks_like_a_picture(config):
    one, two = example_batch(config, 3), example_batch(config, 3)
    np.testing.assert_array_equal(one.faces(), two.faces())
    assert one.sound.shape == (3, *config.sound_shape) and one.crops.shape[1] == config.image_size
    steps = np.abs(np.diff(one.crops.astype(int), axis=2)).mean()
    assert 1 < steps < 15 and one.crops.std() > 20  # neither flat nor noise
