"""A request that cannot be evaluated fails with one sentence, before anything is synthesized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.core.errors import LipSyncError
from app.core.settings import Settings
from model.errors import CorpusError
from model.silence_gate import gated
from worker.evaluation.request import Request, gated_hearing, opened_cases, video_paths


@pytest.mark.parametrize(
    ("request_of", "words"),
    [
        (lambda here: Request(), "name either"),
        (lambda here: Request(corpus=here, clips=[here]), "name either"),
        (lambda here: Request(results=[here], references=[here, here]), "1 results need as many"),
        (lambda here: Request(clips=[here / "nothing"]), "no file or folder"),
        (lambda here: Request(clips=[here]), "no video"),
        (lambda here: Request(clips=[here / "broken.txt"]), "broken.txt: "),
        (lambda here: Request(corpus=here), "none of them held out"),
        (lambda here: Request(corpus=here / "nothing"), "no folder"),
    ],
)
def test_a_request_that_cannot_be_evaluated_fails_with_a_sentence(request_of, words: str, tmp_path: Path) -> None:
    (tmp_path / "broken.txt").write_text("no video")
    with pytest.raises((LipSyncError, CorpusError), match=words), opened_cases(Settings(), request_of(tmp_path)):
        pass


def test_a_corrupt_checkpoint_is_an_error(tmp_path: Path) -> None:
    checkpoint = tmp_path / "bad.safetensors"
    checkpoint.write_bytes(b"\0" * 99)
    settings = Settings(checkpoint=checkpoint)
    with pytest.raises(LipSyncError, match="checkpoint_invalid"), opened_cases(settings, Request(corpus=tmp_path)):
        pass


def test_a_network_hears_the_voice_behind_the_silence_gate() -> None:
    noise = np.random.default_rng(0).normal(0, 20, 48_000)
    noise[16_000:32_000] += 9000 * np.sin(np.arange(16_000) * 0.09)
    voice, heard = noise.astype(np.int16), list[np.ndarray]()
    gated_hearing(lambda samples, times_s: heard.append(samples))(voice, np.arange(3) / 25)
    np.testing.assert_array_equal(heard[0], gated(voice))
    assert not heard[0][:12_000].any() and voice[:12_000].any()


@pytest.mark.parametrize(
    ("references", "sentence"),
    [([], "1 finished videos without their films."), ([Path("f.mp4")], "1 finished videos against their films.")],
)
def test_a_request_knows_whether_films_are_given(references: list[Path], sentence: str) -> None:
    request = Request(results=[Path("r.mp4")], references=references)
    assert request.is_without_film == (not references)
    assert request.subject(Settings()) == sentence
    assert not Request(clips=[Path("c.mp4")]).is_without_film


def test_folders_stand_for_their_videos_in_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MPG", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in video_paths([tmp_path, tmp_path / "c.txt"])] == ["a.MPG", "b.mp4", "c.txt"]
