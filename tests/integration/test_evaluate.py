"""The command that judges, as a person calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from app.core.probing.probe import find_ffmpeg
from app.core.settings import Settings
from lipsync.__main__ import main
from lipsync.sample import VOICE
from model.checkpoint_config import default_checkpoint
from model.corpus.build import CorpusSettings, build_corpus
from model.evaluation.learned_metrics import default_backbone
from model.silence_gate import gated
from tests.error_line import error_line
from tests.worker.clips import portrait, write_clip
from worker.evaluation.request import Request, opened_cases
from worker.loaded_network import load_generator
from worker.training_data.clip_writer import Preparer

needs_weights = pytest.mark.skipif(not default_checkpoint().is_file(), reason="no weights in the package")
CONTRACT = (
    *("name", "clips", "aperture_r", "aperture_lag_frames", "silent_aperture_ratio", "lmd", "psnr", "ssim", "lpips"),
    *("sharpness_ratio", "jitter_ratio", "lse_d", "lse_c"),
)


def call(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["evaluate", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 15 frames of a drifting face with a voice."""
    folder = tmp_path_factory.mktemp("talk")
    picture = write_clip(folder / "picture.mp4", (portrait(shift=i * 0.4) for i in range(15)))
    path = folder / "talk.mp4"
    command = [find_ffmpeg(None), "-v", "error", "-y", "-i", str(picture), "-i", str(VOICE), "-shortest"]
    subprocess.run([*command, "-c:v", "copy", "-c:a", "aac", str(path)], check=True)
    return path


@pytest.mark.timeout(900)  # the whole network, three times
@needs_weights
def test_a_real_video_gives_every_row_of_the_contract_and_a_page(talk: Path, tmp_path: Path) -> None:
    figures, page = tmp_path / "new" / "figures.json", tmp_path / "page"
    code, said, _ = call("--clips", talk, "--clips", talk.with_name("picture.mp4"), "--json", figures)
    assert code == 2  # the other has no sound
    code, said, _ = call("--clips", talk, "--json", figures, "--html", page)
    assert code == 0 and said.splitlines()[-1].startswith("1 clip: ") and "PSNR" in said.splitlines()[-1]
    rows = json.loads(figures.read_text())["rows"]
    assert [row["name"] for row in rows] == ["real video", "own audio", "silent audio", "shuffled audio"]
    assert all(set(CONTRACT) <= set(row) for row in rows)
    assert rows[1]["psnr"] > 20 and (rows[1]["lpips"] is None) == (default_backbone() is None)
    assert (page / "index.html").stat().st_size > 10_000


@needs_weights
def test_the_network_hears_a_video_behind_the_silence_gate_as_in_a_job(talk: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 20, 32_000)
    noise[16_000:] += 9000 * np.sin(np.arange(16_000) * 0.09)
    voice, times_s = noise.astype(np.int16), np.arange(50) / 25
    with opened_cases(Settings(), Request(clips=[talk])) as cases:
        assert cases[0].hear is not None
        heard = cases[0].hear(voice, times_s)
    network = load_generator(Settings())
    quiet, noisy = (network.hear(samples, times_s) for samples in (gated(voice), voice))
    assert heard is not None and quiet is not None and noisy is not None
    np.testing.assert_allclose(heard, quiet, atol=1e-3)
    assert np.abs(heard - noisy).max() > 0.02, "noise is not silence to the network"


@pytest.mark.slow
@needs_weights
def test_prepared_clips_are_judged_and_promises_held(tmp_path: Path) -> None:
    preparer = Preparer()
    build_corpus(CorpusSettings(tmp_path / "c", 1, 7, held_out=True), preparer.landmarks, preparer.write_clip)
    preparer.close()
    code, said, told = call("--corpus", tmp_path / "c", "--check", "--lpips-backbone", "random")
    assert code == (1 if "error:" in told else 0)
    assert "label_aperture_r" in said and "lpips" in said


def test_a_finished_video_needs_no_weights(talk: Path) -> None:
    code, said, _ = call("--result", talk, "--reference", talk, "--checkpoint", "nowhere.safetensors")
    assert code == 0 and "ssim" in said


def test_a_finished_video_without_its_film_is_not_compared_with_itself(talk: Path) -> None:
    code, said, told = call("--result", talk, "--check")
    assert "faces_found" in said and "ssim" not in said and "aperture_r" not in said
    assert code == 1 and "error: lip_voice is" in told and "aperture_r" not in told, "a still face does not talk"


def test_an_installation_that_only_serves_says_what_is_missing(tmp_path: Path) -> None:
    program = "import sys; sys.modules['skimage'] = None; from lipsync.__main__ import main; main()"
    command = [sys.executable, "-c", program, "evaluate", "--corpus", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "error: option_invalid: skimage is not installed; pip install '.[train]' brings it.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "error: option_invalid: evaluate: name either"),
        (["--corpus", "{folder}/empty"], "none of them held out"),
        (["--clips", "{folder}/empty"], "no video"),
        (["--clips", "{folder}/broken.mp4"], "error: video_unreadable: broken.mp4: "),
        (["--clips", "{talk}", "--checkpoint", "{folder}/broken.mp4"], "error: checkpoint_invalid"),
        (["--clips", "{talk}", "--syncnet", "{folder}/broken.mp4"], "not a file of plain weights"),
        (["--clips", "{talk}", "--inception", "{folder}/none"], "Inception v3 needs its weights"),
        (["--raters", "{folder}/page", "--system", "ours={folder}"], "at least two systems"),
        (["--raters", "{folder}/page", "--ratings", "{folder}/broken.mp4"], "cannot be read as CSV"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], words: str, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 99)
    (tmp_path / "empty").mkdir()
    code, _, told = call(*(word.format(folder=tmp_path, talk=talk) for word in arguments))
    assert code == 2
    assert words in error_line(told)
