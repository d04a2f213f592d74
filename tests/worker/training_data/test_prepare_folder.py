"""Folders of films are prepared with real decoding, detection, crops and sound."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from app.core.probing.probe import Limits, find_ffmpeg
from app.core.settings import Settings
from lipsync.__main__ import main
from model.checkpoint_config import CheckpointConfig
from model.evaluation.av_offset import shift_sound
from model.training.clips import Corpus
from tests.worker.clips import portrait, write_clip, write_voice
from worker.training_data.clip_writer import Preparer
from worker.training_data.dataset_layouts import find_films
from worker.training_data.film import FilmReading, prepare_film
from worker.training_data.prepare_folder import FolderReport, PrepareSettings, prepare_folder


def _film(path: Path, frames: Iterable[np.ndarray], rate: str = "25") -> Path:
    """Write a film whose sound buzzes from 0.2 s to its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = list(frames)
    silent = write_clip(path.with_suffix(".silent.avi"), pictures, rate, "-c:v", "mjpeg", "-q:v", "3")
    length_s = float(len(pictures) / Fraction(rate))
    voice = write_voice(path.with_suffix(".wav"), [(0.2, length_s)], length_s)
    words = ["-i", str(silent), "-i", str(voice), "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    subprocess.run([find_ffmpeg(None), "-v", "error", "-y", *words, "-c:a", "aac", str(path)], check=True)
    silent.unlink()
    voice.unlink()
    return path


def _moving(count: int) -> list[np.ndarray]:
    return [portrait(240, 240, shift=0.3 * k) for k in range(count)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, FolderReport, list[str]]:
    """Prepare a folder of good and bad films."""
    folder, out = tmp_path_factory.mktemp("films"), tmp_path_factory.mktemp("corpus")
    grey = [portrait(240, 240, blank=True)] * 30
    _film(folder / "s1" / "plain.mp4", _moving(40))
    _film(folder / "s2" / "fast.mp4", _moving(60), "50")
    _film(folder / "s2" / "gap.mp4", [*_moving(30), *grey, *_moving(30)])
    _film(folder / "s3" / "grey.mp4", grey)
    (folder / "s3" / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42 and nothing else")
    write_clip(folder / "s3" / "mute.mp4", _moving(30))
    logged: list[str] = []
    return folder, out, prepare_folder(folder, out, PrepareSettings(val_share=0.3), logged.append), logged


def test_good_films_become_clips_and_bad_ones_reasons(prepared: tuple[Path, Path, FolderReport, list[str]]) -> None:
    _, _, report, logged = prepared
    results = {str(path): result for path, result in report.results.items()}
    assert [len(results[name].clips) for name in ("s1/plain.mp4", "s2/fast.mp4", "s2/gap.mp4")] == [1, 1, 2]
    assert "damaged" in results["s3/broken.mp4"].left_out[0]
    assert "no audio track" in results["s3/mute.mp4"].left_out[0]
    assert "show no face" in results["s3/grey.mp4"].left_out[0]
    assert logged == [] and set(report.splits) == {"s1", "s2"}
    lines = list(report.lines())
    assert sum(line.startswith("skipped") for line in lines) == 3 and "clips          4, 5.2 s" in lines


def test_clips_are_what_training_reads(prepared: tuple[Path, Path, FolderReport, list[str]]) -> None:
    _, out, report, _ = prepared
    for split in ("train", "val"):
        corpus = Corpus.open(out, split, 96, CheckpointConfig().mel_window)
        assert all(np.isfinite(corpus.clip(number).articulation[:, :2]).all() for number in range(len(corpus)))
    for result in report.results.values():
        for name in result.clips:
            meta = json.loads((out / name / "meta.json").read_text())
            assert meta["split"] == report.splits[meta["identity"]] and meta["offset_frames"] == 0
    fast = report.results[Path("s2/fast.mp4")]
    assert fast.frames == 30 and np.load(out / fast.clips[0] / "crops.npy").shape == (30, 128, 128, 3)


def test_sound_stays_with_its_frames(prepared: tuple[Path, Path, FolderReport, list[str]]) -> None:
    _, out, report, _ = prepared
    late = report.results[Path("s2/gap.mp4")].clips[1]
    start_s = json.loads((out / late / "meta.json").read_text())["start_s"]
    assert start_s == pytest.approx(60 / 25, abs=0.5)
    audio = np.load(out / late / "audio.npy")
    assert np.abs(audio.astype(int)).mean() > 500 and len(audio) == 640 * len(np.load(out / late / "labels.npy"))


def test_what_was_prepared_is_kept(prepared: tuple[Path, Path, FolderReport, list[str]]) -> None:
    folder, out, report, _ = prepared
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*/crops.npy")}
    again = prepare_folder(folder, out, PrepareSettings(val_share=0.3, workers=2), lambda _: None)
    assert again.clips == report.clips and again.splits == report.splits
    assert all(result.kept for result in again.results.values() if result.clips)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/crops.npy")} == stamps


def test_no_identity_changes_its_split(prepared: tuple[Path, Path, FolderReport, list[str]], tmp_path: Path) -> None:
    """The clips on disk decide first, then the share and the seed; new films in the folder change nothing."""
    folder, out, report, _ = prepared
    films, there = tmp_path / "films", tmp_path / "out"
    shutil.copytree(out, there)
    for film in find_films(folder):
        if report.results[film.path.relative_to(folder)].clips:
            (films / film.identity).mkdir(parents=True, exist_ok=True)
            (films / film.identity / film.path.name).symlink_to(film.path)
    (films / "s2" / "more.mp4").symlink_to(folder / "s1" / "plain.mp4")  # a new film of somebody who has clips
    for settings in (PrepareSettings(0.0, 7), PrepareSettings(0.9, 8), PrepareSettings(0.9, 9)):
        again = prepare_folder(films, there, settings, lambda _: None)
        assert again.splits == report.splits and again.clips == report.clips + 1
        metas = [json.loads(path.read_text()) for path in there.glob("*/meta.json")]
        assert {(meta["identity"], meta["split"]) for meta in metas} == set(report.splits.items())


def test_a_half_made_film_is_made_anew(prepared: tuple[Path, Path, FolderReport, list[str]], tmp_path: Path) -> None:
    folder, _, _, _ = prepared
    film = next(film for film in find_films(folder) if film.path.name == "plain.mp4")
    leftover = tmp_path / ".films" / f"{film.name}.partial" / "junk"
    leftover.mkdir(parents=True)
    (tmp_path / f"{film.name}_000000").mkdir()
    preparer = Preparer()
    result = prepare_film(preparer, film, "train", tmp_path, None, FilmReading())
    preparer.close()
    assert result.clips == [f"{film.name}_000000"] and (tmp_path / result.clips[0] / "meta.json").is_file()
    assert [path.name for path in (tmp_path / ".films").iterdir()] == [f"{film.name}.json"]


@pytest.mark.parametrize("kind", ["gone", "empty", "unusable", "expert"])
def test_nothing_usable_is_one_sentence(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "films"
    words = ["prepare", str(folder), "--out", str(tmp_path / "out"), "--workers", "1"]
    if kind != "gone":
        folder.mkdir()
    if kind in ("unusable", "expert"):
        (folder / "a.mp4").write_bytes(b"junk")
    if kind == "expert":
        (tmp_path / "e.safetensors").write_bytes(b"junk")
        words += ["--expert", str(tmp_path / "e.safetensors")]
    ended = CliRunner().invoke(main, words)
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.exit_code == 2 and len(errors) == 1
    code = {"unusable": "no_face_detected", "expert": "checkpoint_invalid"}.get(kind, "option_invalid")
    assert errors[0].startswith(f"error: {code}: ")


@pytest.mark.slow
@pytest.mark.parametrize("late", [-3, 3])
def test_late_sound_of_a_real_film_is_found_and_moved(tmp_path: Path, shared_dir: Path, late: int) -> None:
    source, film = shared_dir / "media" / "clips" / "grid_lbax4n.mpg", tmp_path / "films" / "s1" / "lbax4n.mkv"
    film.parent.mkdir(parents=True)
    parts = ["-i", str(source), "-itsoffset", str(late / 25), "-i", str(source), "-map", "0:v", "-map", "1:a"]
    subprocess.run([find_ffmpeg(None), "-v", "error", *parts, "-c:v", "libx264", "-c:a", "flac", str(film)], check=True)
    report = prepare_folder(film.parent.parent, tmp_path / "out", PrepareSettings(), lambda _: None)
    (result,) = report.results.values()
    assert result.offset_frames == pytest.approx(late, abs=1)
    plain = prepare_folder(_alone(source, tmp_path / "plain"), tmp_path / "there", PrepareSettings(), lambda _: None)
    (straight,) = plain.results.values()
    assert straight.offset_frames == 0
    moved, wanted = (
        np.load(root / one.clips[0] / "audio.npy").astype(float)
        for root, one in ((tmp_path / "out", result), (tmp_path / "there", straight))
    )
    middle = slice(10 * 640, 60 * 640)
    shifted = shift_sound(moved.astype(np.int16), result.offset_frames - late, 25)[middle]
    assert np.corrcoef(np.abs(shifted.astype(float)), np.abs(wanted[middle]))[0, 1] > 0.7


def _alone(source: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / source.name).write_bytes(source.read_bytes())
    return folder


def test_the_settings_count_for_films(tmp_path: Path, prepared: tuple[Path, Path, FolderReport, list[str]]) -> None:
    film = next(film for film in find_films(prepared[0]) if film.path.name == "plain.mp4")
    reading = FilmReading.of(Settings(max_pixels=1000, max_duration_s=60, ffmpeg="/some/ffmpeg"))
    assert reading == FilmReading(Limits(4 * 3600.0, 1000, 120.0), "/some/ffmpeg")
    result = prepare_film(Preparer(), film, "train", tmp_path, None, reading)
    assert not result.clips and "at most 1000 pixels" in result.left_out[0]
