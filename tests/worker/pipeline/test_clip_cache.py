"""A job with the findings of an earlier job makes the same file as one without, and finds nothing again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.files import file_sha256
from app.core.jobs import JobOptions
from app.core.storage.cache import Cache, JobCache
from model.speech_encoder.port import FEATURES, feature_count
from tests.fake_synthesizer import FakeSynthesizer
from tests.worker.clips import RecordingMonitor, sources_of, write_voice
from worker.faces.detect import DetectorPool, Face, FaceDetector
from worker.faces.frame_view import FrameView
from worker.media.encoded_voice import FEATURES_FILE
from worker.pipeline.clip_cache import recall_features
from worker.pipeline.render import run
from worker.pipeline.run_context import FinishedClip, PlannedClip, RunContext
from worker.pipeline.segments import begin, join_segments, render_segment


class CountingDetector(FaceDetector):
    """Detector that counts the pictures in which it looks for faces."""

    looks = 0

    def detect_in(self, view: FrameView) -> list[Face]:
        self.looks += 1
        return super().detect_in(view)

    def glance(self, view: FrameView) -> list[Face]:
        self.looks += 1
        return super().glance(view)

    def follow(self, view: FrameView, face: Face) -> Face | None:
        self.looks += 1
        return super().follow(view, face)


class OneDetector(DetectorPool):
    """Pool with one detector."""

    def __init__(self, detector: CountingDetector) -> None:
        super().__init__()
        self.detector = detector

    @contextlib.contextmanager
    def borrow(self) -> Iterator[CountingDetector]:
        self.detector.looks = 0
        yield self.detector


@pytest.fixture(scope="module")
def pool() -> Iterator[OneDetector]:
    with CountingDetector() as detector:
        assert isinstance(detector, CountingDetector)
        yield OneDetector(detector)


@dataclass
class Rig:
    """Jobs of one owner with one video on one host."""

    folder: Path
    video: Path
    pool: OneDetector
    cache: Cache

    def context(self, voice: Path, job: int, owner: str | None = "", **options: object) -> RunContext:
        """Return the context of a job; owner None: without a cache."""
        work_dir = self.folder / f"work-{job}-{owner}"
        work_dir.mkdir(exist_ok=True)
        chosen = JobOptions.model_validate({"preset": "ultrafast"} | options)
        job_cache = None if owner is None else self.cache.of_job(owner, f"{job:032x}")
        network, sources = FakeSynthesizer(darkens=True), sources_of(self.video, voice)
        return RunContext(sources, chosen, network, work_dir, RecordingMonitor(), self.pool, None, job_cache)

    def run(self, voice: Path, job: int, owner: str | None = "", **options: object) -> tuple[str, int]:
        """Return the hash of the result, and the number of looks that it took."""
        context = self.context(voice, job, owner, **options)
        output = context.work_dir / "out.mp4"
        run(context, output)
        return file_sha256(output), self.pool.detector.looks


@pytest.fixture
def rig(tmp_path: Path, moving_clip: Path, pool: OneDetector) -> Rig:
    return Rig(tmp_path, moving_clip, pool, Cache(tmp_path / "cache", 10**8, 0))


@pytest.fixture(scope="module")
def voices(media_dir: Path) -> list[Path]:
    return [write_voice(media_dir / f"said_{n}.wav", [(0.1 * n, 1.0)], 4.0 - 0.5 * n) for n in range(3)]


def test_a_second_voice_on_the_same_video_looks_for_no_face_again(rig: Rig, voices: list[Path]) -> None:
    options: dict[str, Any] = {"sync_mode": "silence"}  # so that all frames are shown, however long the voice is
    plain = rig.run(voices[1], 9, None, **options)
    first = rig.run(voices[0], 1, **options)
    assert first[0] != plain[0] and first[1] == plain[1] > 0, "the first job finds everything"
    assert rig.run(voices[1], 2, **options) == (plain[0], 0)
    assert rig.run(voices[1], 3, "somebody else", **options) == plain


def test_a_voice_of_another_length_shows_other_frames_and_still_knows_most(rig: Rig, voices: list[Path]) -> None:
    plain, looks = rig.run(voices[2], 9, None)
    rig.run(voices[0], 1)
    result, rest = rig.run(voices[2], 2)
    assert result == plain
    assert 0 < rest < looks


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"face": "all"}, {"face": "point:150,160"}, {"start_s": 1.0}])
def test_other_choices_get_their_own_answers(rig: Rig, voices: list[Path], options: dict[str, Any]) -> None:
    rig.run(voices[0], 1)
    assert rig.run(voices[0], 2, **options)[0] == rig.run(voices[0], 9, None, **options)[0]


def in_segments(context: RunContext, output: Path) -> FinishedClip:
    planned = begin(context, output, 1.1)
    assert isinstance(planned, PlannedClip)
    pieces = []
    for number in range(planned.segments):
        folder = context.work_dir / str(number)
        folder.mkdir()
        pieces.append(render_segment(replace(context, work_dir=folder), planned.plan, number, planned.segments))
    return join_segments(context, planned.plan, pieces, output, 0.0)


@pytest.mark.slow
def test_segments_make_and_use_the_same_findings(rig: Rig, voices: list[Path]) -> None:
    def result(job: int, owner: str | None) -> tuple[str, int]:
        context, looks = rig.context(voices[0], job, owner), 0
        output = context.work_dir / "out.mp4"
        in_segments(context, output)
        looks = rig.pool.detector.looks  # of the last segment
        return file_sha256(output), looks

    plain, looks = result(9, None)
    assert looks > 0 and result(1, "")[0] == plain
    assert result(2, "") == (plain, 0)


class CountingEncoder:
    """Speech encoder that counts its calls; its features depend on the samples."""

    def __init__(self, name: str = "counting") -> None:
        self.name, self.calls = name, 0

    def encode(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        self.calls += 1
        steps = feature_count(len(samples))
        levels = np.resize(np.asarray(samples, np.float32), steps) / 1000
        yield np.repeat(levels[:, None], FEATURES, axis=1)


@pytest.fixture
def job_cache(tmp_path: Path) -> JobCache:
    return Cache(tmp_path / "cache", 10**8, 0).of_job("", "1" * 32)


def samples(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, 40_001).astype(np.int16)


def test_a_voice_is_heard_once(tmp_path: Path, job_cache: JobCache) -> None:
    encoder = CountingEncoder()
    heard = [recall_features(job_cache, encoder, samples(1), tmp_path, never_stop).features.tobytes() for _ in "ab"]
    assert encoder.calls == 1 and heard[0] == heard[1]
    assert (tmp_path / FEATURES_FILE).read_bytes() == heard[0], "a plan saves the file"


@pytest.mark.parametrize(
    ("cache", "name", "seed"), [(True, "counting", 2), (True, "another encoder", 1), (False, "counting", 1)]
)
def test_another_voice_or_encoder_is_heard_anew(
    tmp_path: Path, job_cache: JobCache, cache: bool, name: str, seed: int
) -> None:
    recall_features(job_cache, CountingEncoder(), samples(1), tmp_path, never_stop)
    encoder = CountingEncoder(name)
    recall_features(job_cache if cache else None, encoder, samples(seed), tmp_path, never_stop)
    assert encoder.calls == 1


def damage(folder: Path, content: bytes) -> None:
    for path in (folder / "cache").rglob("*.entry"):
        path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"\x00" * 1000])
def test_damaged_findings_are_found_anew(rig: Rig, voices: list[Path], content: bytes) -> None:
    first = rig.run(voices[0], 1)
    damage(rig.folder, content)
    assert rig.run(voices[0], 2) == first
