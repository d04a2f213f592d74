"""Building a small corpus for real: faces, voices, rendering, detection, crops, labels."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lipsync.__main__ import main
from model.audio import AROUND_FRAME
from model.corpus.build import BuildSummary, CorpusSettings, build_corpus
from model.corpus.clip_maker import VAL_EVERY, ClipId, ClipMaker, Landmarks
from model.corpus.materials.people import astronaut_alone, draw_astronaut, read_people, read_picture
from model.errors import ClipError
from model.sound import MelReader
from model.training.voices import Voices
from worker.faces.detect import mouth_size
from worker.training_data.clip_writer import Preparer

CLIPS = 3
VOICES = 2
SEED = 11


@pytest.fixture(scope="module")
def preparer() -> Iterator[Preparer]:
    made = Preparer(size=96)
    yield made
    made.close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, preparer: Preparer) -> tuple[Path, BuildSummary, list[str]]:
    folder = tmp_path_factory.mktemp("corpus")
    logged: list[str] = []
    settings = CorpusSettings(folder, CLIPS, SEED, voices=VOICES)
    summary = build_corpus(settings, preparer.landmarks, preparer.write_clip, log=logged.append)
    return folder, summary, logged


def test_a_build_without_faces_works_and_logs_what_is_missing(corpus: tuple[Path, BuildSummary, list[str]]) -> None:
    _, summary, logged = corpus
    assert summary.written + len(summary.skipped) == CLIPS + VOICES and summary.written >= 2 + VOICES
    assert "astronaut" in logged[0] and "both splits" in logged[1]
    claimed = json.loads((corpus[0] / "corpus.json").read_text())
    assert claimed == {"seed": SEED, "held_out": False, "faces": {"astronaut": ["astronaut.png"]}, "recordings": []}


def test_clips_are_complete(corpus: tuple[Path, BuildSummary, list[str]]) -> None:
    folders = sorted(corpus[0].glob("puppet_*"))
    assert len(folders) == corpus[1].written - VOICES
    for folder in folders:
        crops, audio, labels = (np.load(folder / f"{name}.npy") for name in ("crops", "audio", "labels"))
        meta = json.loads((folder / "meta.json").read_text())
        assert crops.shape[1:] == (96, 96, 3) and crops.dtype == np.uint8 and 75 <= len(crops) <= 125
        assert audio.dtype == np.int16 and len(audio) == len(crops) * 640
        assert labels.dtype == np.float32 and labels.shape == (len(crops), 2)
        articulation, mesh = np.load(folder / "articulation.npy"), np.load(folder / "mesh.npy")
        assert articulation.shape == (len(crops), 7) and mesh.shape == (len(crops), 468, 2)
        assert meta["fps"] == 25 and meta["identity"] == "astronaut" and meta["split"] == "train"
        assert meta["source"] == "astronaut.png" and meta["voice"]
        assert labels[:, 0].min() < 0.02 and 0.04 < labels[:, 0].max() < 0.3
        assert labels[:, 1].min() > 0.2 and labels[:, 1].max() < 0.75


def test_voices_are_sound_with_articulation(corpus: tuple[Path, BuildSummary, list[str]]) -> None:
    folders = sorted(corpus[0].glob("voice_*"))
    assert len(folders) == VOICES
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {"audio.npy", "articulation.npy", "meta.json"}
        audio, rows = np.load(folder / "audio.npy"), np.load(folder / "articulation.npy")
        assert (audio.dtype, audio.shape, rows.shape) == (np.int16, (160_000,), (250, 7))
        assert rows[:, 0].max() > 0.3 and np.abs(audio).max() > 500
    assert len(Voices.open(corpus[0], "train", MelReader(AROUND_FRAME)).folders) == corpus[1].written


def test_the_mesh_lies_on_the_lips(corpus: tuple[Path, BuildSummary, list[str]]) -> None:
    """The opening between the inner lips is darker than the skin around the lips."""
    folder = sorted(corpus[0].glob("puppet_*"))[0]
    crops, mesh = np.load(folder / "crops.npy"), np.load(folder / "mesh.npy").astype(np.float32)
    wide = int(np.load(folder / "labels.npy")[:, 0].argmax())
    points = ((mesh[wide] + 1) * 48).astype(int)
    grey = crops[wide].mean(axis=2)
    inside = grey[(points[13, 1] + points[14, 1]) // 2, (points[13, 0] + points[14, 0]) // 2]
    assert inside < min(grey[points[at, 1], points[at, 0]] for at in (17, 200, 50, 280))


def test_labels_say_what_the_crops_show(corpus: tuple[Path, BuildSummary, list[str]], preparer: Preparer) -> None:
    """A mesh fitted to the finished crops sees the mouth open when the labels say so."""
    folder = sorted(corpus[0].glob("puppet_*"))[0]
    crops, labels = np.load(folder / "crops.npy"), np.load(folder / "labels.npy")
    seen, said = [], []
    for index in range(0, len(crops), 2):
        bordered = np.pad(np.repeat(np.repeat(crops[index], 3, 0), 3, 1), ((90, 90), (90, 90), (0, 0)), mode="edge")
        found = preparer.landmarks(bordered)
        if found:
            seen.append(mouth_size(found[0])[0])
            said.append(labels[index, 0])
    assert len(seen) > 20 and np.corrcoef(seen, said)[0, 1] > 0.8


def test_a_stopped_build_continues_and_a_clip_can_be_made_again(
    corpus: tuple[Path, BuildSummary, list[str]], preparer: Preparer, tmp_path: Path
) -> None:
    folder, first, _ = corpus
    again = build_corpus(CorpusSettings(folder, CLIPS, SEED, VOICES), preparer.landmarks, preparer.write_clip)
    assert again.kept == first.written and again.written == 0
    build_corpus(CorpusSettings(tmp_path, 1, SEED), preparer.landmarks, preparer.write_clip)
    for name in ("crops", "audio", "labels"):
        one, two = (np.load(root / "puppet_000000" / f"{name}.npy") for root in (folder, tmp_path))
        assert np.array_equal(one, two), name


def test_held_out_clips_can_be_made_alone(preparer: Preparer, tmp_path: Path) -> None:
    build_corpus(CorpusSettings(tmp_path, 1, SEED, held_out=True), preparer.landmarks, preparer.write_clip)
    (folder,) = tmp_path.glob("puppet_*")
    meta = json.loads((folder / "meta.json").read_text())
    assert folder.name == f"puppet_{VAL_EVERY - 1:06d}" and meta["split"] == "val"
    symbols = [symbol for symbol, start_s, end_s in meta["phones"] if 0 <= start_s < end_s]
    assert len(symbols) > 5 and any(symbols)


def test_silent_clips_are_in_both_splits() -> None:
    silent = [ClipId("puppet", number) for number in range(2000) if ClipId("puppet", number).is_silent]
    assert {clip.split for clip in silent} == {"train", "val"}


def test_a_clip_that_cannot_be_made_is_skipped_and_a_fault_of_the_program_is_not(tmp_path: Path) -> None:
    person = astronaut_alone(tmp_path)
    draw_astronaut(person)

    def write(*_: object, **__: object) -> int:
        raise AssertionError("nothing is written")

    def maker(landmarks: Landmarks) -> ClipMaker:
        return ClipMaker([person], [], SEED, tmp_path, landmarks, write)

    def fail(_: np.ndarray) -> list[np.ndarray]:
        raise ValueError("a fault of the program")

    skipped = maker(lambda _: []).make(ClipId("puppet", 0))
    assert (skipped.clip.name, skipped.frames) == ("puppet_000000", 0)
    assert skipped.skip_reason == "no face found in astronaut.png"
    with pytest.raises(ValueError, match="a fault of the program"):
        maker(fail).make(ClipId("puppet", 0))
    with pytest.raises(ClipError, match="is not a picture"):
        read_picture(tmp_path)


def _index(folder: Path, rows: list[dict[str, str]]) -> Path:
    """Write a folder's INDEX.csv, its columns those of the first row."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "INDEX.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def _faces(folder: Path, *identities: str, content: bytes = b"junk", **more: str) -> Path:
    """Write a picture of each identity, with its list."""
    rows = [{"file": f"{name}.png", "identity": name, "tier": "1", "yaw": "0", **more} for name in identities]
    for row in rows:
        _index(folder, rows)
        (folder / row["file"]).write_bytes(content)
    return folder


def _speech(folder: Path, **contents: bytes | None) -> Path:
    """Write recordings of one free speaker, or leave them out (None), with their list."""
    names = {name: f"x/{name}.wav" for name in contents}
    (folder / "x").mkdir(parents=True)
    for name, content in contents.items():
        if content is not None:
            (folder / names[name]).write_bytes(content)
    row = {"lang": "en", "transcript": "Hello there.", "licence": "MIT"}
    return _index(folder, [{"file": file, **row} for file in names.values()])


def _call(out: Path, *words: object) -> tuple[int, str, list[str]]:
    """Run `lipsync corpus`; return its status, all it said and its errors."""
    common = ["--out", out, "--clips", 1, "--voices", 0, "--workers", 1]
    done = CliRunner().invoke(main, ["corpus", *map(str, [*common, *words])])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output, [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--faces", "{folder}/none"], "none holds no INDEX.csv"),
        (["--faces", "{folder}/bare"], "bare holds no INDEX.csv"),
        (["--speech", "{folder}/none"], "none holds no INDEX.csv"),
        (["--speech", "{folder}/untiered"], "has no column lang and no transcript"),
        (["--faces", "{folder}/untiered"], "has no column tier"),
        (["--faces", "{folder}/binary"], "cannot be read as CSV"),
        (["--faces", "{folder}/turned"], "the yaw 'abc', which is no number"),
        (["--faces", "{folder}/private"], "no usable face"),
        (["--faces", "{folder}/empty"], "No clip could be made; the first was skipped: a.png is not a picture."),
        (["--faces", "{folder}/junk"], "No clip could be made; the first was skipped: a.png is not a picture."),
        (["--out", "{folder}/empty/a.png"], "a.png is a file"),
        (["--out", "{folder}/empty/a.png/deeper"], "a.png is a file"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    (tmp_path / "bare").mkdir()
    _index(tmp_path / "untiered", [{"file": "a.png", "identity": "a", "yaw": "0"}])
    (_index(tmp_path / "binary", [{"file": "a.png"}]) / "INDEX.csv").write_bytes(b"\xff\xfe\0")
    _faces(tmp_path / "turned", "a", yaw="abc")
    _faces(tmp_path / "private", "a", tier="3")
    _faces(tmp_path / "empty", "a", content=b"")
    _faces(tmp_path / "junk", "a")
    status, _, errors = _call(tmp_path / "out", *(word.format(folder=tmp_path) for word in words))
    assert status == 2 and len(errors) == 1
    assert errors[0].startswith("error: option_invalid: ") and sentence in errors[0]


@pytest.mark.parametrize("command", [["corpus", "fetch", "--from", "."], ["prepare", "."]])
def test_a_file_in_the_way_of_a_folder_is_one_sentence(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "file").write_text("kept")
    done = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "file")])
    assert done.exit_code == 2 and done.output.startswith("error: option_invalid: ") and "is a file" in done.output


@pytest.mark.parametrize("loader", ["None", "SimpleNamespace(get_library_path=lambda: '/nowhere/libespeak-ng.so')"])
def test_without_espeak_nothing_is_written(tmp_path: Path, loader: str) -> None:
    begin = f"import sys; from types import SimpleNamespace; sys.modules['espeakng_loader'] = {loader}; "
    program = f"{begin}from lipsync.__main__ import main; main()"
    command = [sys.executable, "-c", program, "corpus", "--out", str(tmp_path / "out"), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert done.stderr.startswith("error: option_invalid: eSpeak NG is missing") and done.stderr.count("\n") == 1


def _wav(path: Path, samples: int, rate_hz: int = 16_000) -> bytes:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * samples)
    content = path.read_bytes()
    return content[:24] + rate_hz.to_bytes(4, "little") + content[28:]


def test_recordings_that_cannot_be_read_are_left_out_with_a_reason(tmp_path: Path) -> None:
    speech = _speech(
        tmp_path / "speech",
        gone=None,
        empty=b"",
        junk=b"junk",
        cut=_wav(tmp_path / "cut.wav", 40_000)[:-7001],
        silent=_wav(tmp_path / "0.wav", 0),
        still=_wav(tmp_path / "2.wav", 9000, 0),
        click=_wav(tmp_path / "1.wav", 90),
    )
    status, said, errors = _call(tmp_path / "out", "--speech", speech)
    assert (status, errors) == (0, [])
    reasons = dict(line.split(" left out: ") for line in said.splitlines() if " left out: " in line)
    assert {file: reason.split(" (")[0] for file, reason in reasons.items()} == {
        "x/gone.wav": "it cannot be opened",
        "x/empty.wav": "it is not a sound file",
        "x/junk.wav": "it is not a sound file",
        "x/cut.wav": "the recording holds no speech",
        "x/silent.wav": "it holds no sound",
        "x/still.wav": "it holds no sound",
        "x/click.wav": "it holds no sound",
    }


@pytest.mark.parametrize(
    ("more", "differs"),
    [
        ([], None),
        (["--clips", "2"], None),
        (["--voices", "1"], None),
        (["--seed", "8"], "seed"),
        (["--held-out"], "held_out"),
        (["--faces", "{folder}/faces"], "faces"),
        (["--speech", "{folder}/speech"], "recordings"),
    ],
)
def test_a_folder_holds_one_corpus(tmp_path: Path, more: list[str], differs: str | None) -> None:
    """A clip that exists belongs to the corpus that made it, and to no other."""
    out = tmp_path / "out"
    _faces(tmp_path / "faces", "a", "b")
    _speech(tmp_path / "speech", gone=None)
    for number in range(2):
        (out / f"puppet_{number:06d}").mkdir(parents=True)
        (out / f"puppet_{number:06d}" / "meta.json").write_text("{}")
    assert _call(out)[0] == 0 and (out / "corpus.json").is_file()  # clips of before: from here on they are claimed
    before = (out / "corpus.json").read_bytes()
    status, said, errors = _call(out, *(word.format(folder=tmp_path) for word in more))
    assert (out / "corpus.json").read_bytes() == before
    if differs is None:
        assert status == 0 and "kept" in said
    else:
        assert status == 2 and len(errors) == 1 and f"made otherwise (other {differs}); name another" in errors[0]
        assert "kept" not in said


def test_a_manifest_without_clips_is_replaced(tmp_path: Path) -> None:
    assert _call(tmp_path / "out", "--faces", _faces(tmp_path / "faces", "a"))[0] == 2
    assert _call(tmp_path / "out")[0] == 0


@pytest.mark.parametrize(
    ("identities", "held_out"),
    [
        (("a",), set()),
        (("a", "b", "c"), {"c"}),
        (("p10", "p12"), {"p10"}),
        (("p10", "p17"), {"p10"}),
    ],
)
def test_several_people_are_never_in_one_split(tmp_path: Path, identities: tuple[str, ...], held_out: set[str]) -> None:
    people = read_people(_faces(tmp_path, *identities))
    assert {person.identity for person in people if person.split == "val"} == held_out
