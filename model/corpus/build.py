"""Build the puppet corpus: faces and voices in, training clips with exact labels out.

Each clip comes from its number and the corpus seed (studio.py), so a build that was stopped goes on where it was. Faces
and voices are held out together: a clip of the split "val" shows a person and lets hear a voice that no clip of "train"
has, except that silence has no voice, and that one person alone has to be in both.

Beside the puppets there are voices without a face: sound and articulation alone, of which hearing takes many.
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

from model.corpus.manifest import claim
from model.corpus.materials.people import astronaut_alone, draw_astronaut, read_people
from model.corpus.speech.espeak import espeak
from model.corpus.speech.recordings import list_recordings, read_recordings
from model.corpus.studio import VAL_EVERY, ClipWriter, Landmarks, Studio


@dataclass(frozen=True)
class Summary:
    """Count what a build made: clips written now, found from before, skipped with reasons, frames written now.

    puppets: how many clips with a face were asked for and are there now.
    """

    written: int
    kept: int
    skipped: dict[str, str]
    frames: int
    puppets: int


_studio: Studio | None = None


def _open_studio(make_studio: Callable[[], Studio]) -> None:
    global _studio  # noqa: PLW0603  one studio a process, opened by the pool's initialiser
    cv2.setNumThreads(1)
    _studio = make_studio()


def _make_in_studio(wanted: tuple[str, int]) -> tuple[str, int, str]:
    if _studio is None:
        raise RuntimeError("the studio of this process was not opened")
    return _studio.produce(wanted)


def build_corpus(
    faces_dir: Path | None,
    out_dir: Path,
    clips: int,
    seed: int,
    landmarks: Landmarks,
    write_clip: ClipWriter,
    workers: int = 1,
    speech_dir: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
    voices: int = 0,
    held_out: bool = False,
) -> Summary:
    """Make puppets 0..clips-1 and voices 0..voices-1 of the corpus `seed` under `out_dir`; those there are kept.

    held_out: make so many held-out clips and no others, each as the whole corpus would have it.

    A folder is of one corpus (claim.py): one made of other faces or recordings, or from another seed, is refused.
    landmarks: picture (H, W, 3) uint8 RGB -> list of (468, 2) px, the main face first; it and write_clip must be
    picklable for workers > 1. speech_dir: recordings with transcripts (recordings.py). `tell` hears what is missing
    and what was skipped. Raises MaterialError for what cannot be used, EspeakError without a voice.
    """
    espeak()
    people = [astronaut_alone(out_dir)] if faces_dir is None else read_people(faces_dir)
    listed = [row["file"] for row in list_recordings(speech_dir)] if speech_dir is not None else []
    out_dir.mkdir(parents=True, exist_ok=True)
    claim(out_dir, seed, held_out, people, listed)
    if faces_dir is None:
        draw_astronaut(people[0])
        tell("no folder of faces: scikit-image's astronaut is the only face, which is too few to learn from")
    if len(people) == 1:
        tell(f"{people[0].identity} is the only face, and so in both splits: held-out clips judge no other face")
    numbers = range(VAL_EVERY - 1, clips * VAL_EVERY, VAL_EVERY) if held_out else range(clips)
    every = [("puppet", number) for number in numbers] + [("voice", number) for number in range(voices)]
    wanted = [(kind, n) for kind, n in every if not (out_dir / f"{kind}_{n:06d}" / "meta.json").is_file()]
    recordings = read_recordings(speech_dir, tell) if speech_dir is not None and wanted else []
    make_studio = partial(Studio, people, recordings, seed, out_dir, landmarks, write_clip)
    bar = tqdm(total=len(every), initial=len(every) - len(wanted), unit="clip", desc="corpus")
    with bar:
        frames, skipped = _produce(make_studio, wanted, workers, bar)
    for name, reason in sorted(skipped.items()):
        tell(f"{name} skipped: {reason}")
    puppets = len(numbers) - len(skipped)  # a voice is never skipped
    return Summary(len(wanted) - len(skipped), len(every) - len(wanted), skipped, frames, puppets)


def _produce(
    make_studio: Callable[[], Studio], wanted: list[tuple[str, int]], workers: int, bar: tqdm
) -> tuple[int, dict[str, str]]:
    """Make what is wanted; return the number of frames, and why each that is missing was skipped."""
    if workers <= 1:
        return _collect(map(make_studio().produce, wanted), bar)
    context = multiprocessing.get_context("spawn")
    with (
        _one_thread_a_process(),
        context.Pool(workers, _open_studio, (make_studio,), maxtasksperchild=200) as pool,
    ):
        return _collect(pool.imap_unordered(_make_in_studio, wanted), bar)


@contextmanager
def _one_thread_a_process() -> Iterator[None]:
    """Let processes that start meanwhile compute on one thread each: theirs are tiny matrices, and cores are taken."""
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


def _collect(results: Iterable[tuple[str, int, str]], bar: tqdm) -> tuple[int, dict[str, str]]:
    frames = 0
    skipped: dict[str, str] = {}
    for name, count, reason in results:
        frames += count
        if reason:
            skipped[name] = reason
        bar.update()
    return frames, skipped
