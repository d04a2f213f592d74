"""Build the puppet corpus: from faces and voices to training clips with exact labels.

Each clip depends only on its number and the corpus seed (clip_maker.py), so a build that was stopped continues where it
was. Faces and voices are held out together: a clip of the split "val" has a person and a voice that no clip of "train"
has. There are two exceptions: silence has no voice, and a single person has to be in both splits.

The corpus also holds voices without a face: sound and articulation alone, because the hearing network needs many.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from model.corpus.clip_maker import VAL_EVERY, ClipId, ClipMaker, ClipResult, ClipWriter, Landmarks
from model.corpus.manifest import write_manifest
from model.corpus.materials.people import astronaut_alone, draw_astronaut, read_people
from model.corpus.speech.espeak import espeak
from model.corpus.speech.recordings import list_recordings, read_recordings


@dataclass(frozen=True)
class CorpusSettings:
    """Settings of a corpus.

    clips, voices: how many puppets and how many voices without a face. held_out: make only held-out puppets, each as
    the whole corpus would have it. faces_dir: pictures with INDEX.csv (people.py); None for scikit-image's astronaut
    alone. speech_dir: recordings with transcripts (recordings.py), if any.
    """

    out_dir: Path
    clips: int
    seed: int
    voices: int = 0
    held_out: bool = False
    faces_dir: Path | None = None
    speech_dir: Path | None = None

    def puppets(self) -> list[ClipId]:
        """Return the puppets of the corpus, in order."""
        step = VAL_EVERY if self.held_out else 1
        return [ClipId("puppet", number) for number in range(step - 1, self.clips * step, step)]

    def clip_ids(self) -> list[ClipId]:
        """Return all puppets and voices of the corpus, in order."""
        return self.puppets() + [ClipId("voice", number) for number in range(self.voices)]


@dataclass(frozen=True)
class BuildSummary:
    """Counts of a build.

    written: clips made by this build. kept: clips found from an earlier build. skipped: the reason for each clip that
    could not be made, by its name. frames: frames of the clips that were written. puppets: clips with a face that exist
    now.
    """

    written: int
    kept: int
    skipped: dict[str, str]
    frames: int
    puppets: int


def build_corpus(
    settings: CorpusSettings,
    landmarks: Landmarks,
    write_clip: ClipWriter,
    workers: int = 1,
    log: Callable[[str], None] = lambda _: None,
) -> BuildSummary:
    """Make the clips of a corpus; clips that exist are kept.

    landmarks: picture (H, W, 3) uint8 RGB -> list of (468, 2) in pixels, the main face first. landmarks and write_clip
    must be picklable for workers > 1. `log` receives a line for what is missing or was skipped. Raises MaterialError
    for faces, recordings or a folder that cannot be used, and EspeakError if eSpeak NG is missing.
    """
    out_dir, speech_dir = settings.out_dir, settings.speech_dir
    espeak()
    people = [astronaut_alone(out_dir)] if settings.faces_dir is None else read_people(settings.faces_dir)
    listed = [row["file"] for row in list_recordings(speech_dir)] if speech_dir is not None else []
    out_dir.mkdir(parents=True, exist_ok=True)
    write_manifest(out_dir, settings.seed, settings.held_out, people, listed)
    if settings.faces_dir is None:
        draw_astronaut(people[0])
        log("no folder of faces: scikit-image's astronaut is the only face, which is too few to learn from")
    if len(people) == 1:
        log(f"{people[0].identity} is the only face, and so in both splits: held-out clips judge no other face")
    every = settings.clip_ids()
    wanted = [clip for clip in every if not (out_dir / clip.name / "meta.json").is_file()]
    recordings = read_recordings(speech_dir, log) if speech_dir is not None and wanted else []
    new_maker = partial(ClipMaker, people, recordings, settings.seed, out_dir, landmarks, write_clip)
    with tqdm(total=len(every), initial=len(every) - len(wanted), unit="clip", desc="corpus") as bar:
        results = _make_all(new_maker, wanted, workers, bar)
    skipped = {result.clip.name: result.skip_reason for result in results if result.skip_reason}
    for name, reason in sorted(skipped.items()):
        log(f"{name} skipped: {reason}")
    return BuildSummary(
        written=len(wanted) - len(skipped),
        kept=len(every) - len(wanted),
        skipped=skipped,
        frames=sum(result.frames for result in results),
        puppets=len(settings.puppets()) - len(skipped),  # a voice is never skipped
    )


def _make_all(new_maker: Callable[[], ClipMaker], wanted: list[ClipId], workers: int, bar: tqdm) -> list[ClipResult]:
    """Make all wanted clips, in this process or in several; results come in any order."""
    if workers <= 1:
        return _collect(map(new_maker().make, wanted), bar)
    context = multiprocessing.get_context("spawn")
    with (
        _one_thread_a_process(),
        context.Pool(workers, _open_maker, (new_maker,), maxtasksperchild=200) as pool,
    ):
        return _collect(pool.imap_unordered(_make_in_process, wanted), bar)


def _collect(results: Iterable[ClipResult], bar: tqdm) -> list[ClipResult]:
    """Return all results; move the progress bar with each."""
    collected = []
    for result in results:
        collected.append(result)
        bar.update()
    return collected


# A pool can hand an object to its processes only through a variable of the module.
_maker: ClipMaker | None = None


def _open_maker(new_maker: Callable[[], ClipMaker]) -> None:
    """Make the clip maker of a pool's process."""
    global _maker  # noqa: PLW0603  set once in each process, by the pool's initialiser
    cv2.setNumThreads(1)
    _maker = new_maker()


def _make_in_process(clip: ClipId) -> ClipResult:
    """Make one clip with the clip maker of this process."""
    if _maker is None:
        raise RuntimeError("the clip maker of this process was not opened")
    return _maker.make(clip)


@contextmanager
def _one_thread_a_process() -> Iterator[None]:
    """Make processes that start in this block compute on one thread each.

    Their matrices are tiny, and the processes already occupy the cores.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
