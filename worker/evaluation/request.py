"""What a person asks to be judged, opened: prepared clips, real videos, or finished ones against their films."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from app.core.errors import ErrorCode, InputError
from app.core.options import option_error
from app.core.settings import Settings
from model.evaluation.cases import Case, prepared_cases
from worker.evaluation.video_cases import FinishedCase, Instruments, MeshReader, VideoCase
from worker.faces.detect import FaceDetector
from worker.loaded_network import checkpoint_path, load, verify

_SUFFIXES: Final = (".mp4", ".mpg", ".mov", ".mkv", ".webm", ".avi", ".m4v")


@dataclass(frozen=True)
class Request:
    """Say what is to be judged: a folder of prepared clips, or films to redraw, or results with their films.

    limit: at most so many clips. seconds: of each video at most so much. wide: keep the crops that SyncNet wants.
    """

    corpus: Path | None = None
    clips: Sequence[Path] = ()
    results: Sequence[Path] = ()
    references: Sequence[Path] = ()
    limit: int = 48
    seconds: float = 20.0
    wide: bool = False

    def subject(self, settings: Settings) -> str:
        """Say in a sentence what is judged."""
        if self.results:
            return f"{len(self.results)} finished videos against their films."
        what = f"prepared clips of {self.corpus.name}" if self.corpus else "videos redrawn by the whole pipeline"
        return f"{checkpoint_path(settings).name} on {what}."


@contextmanager
def opened_cases(settings: Settings, request: Request) -> Iterator[list[Case]]:
    """Open the detector and, where something is to be drawn, the network, and lend the cases of a request.

    Raises InputError, ServiceError or CorpusError for what cannot be judged.
    """
    if sum(map(bool, (request.corpus, request.clips, request.results))) != 1:
        raise option_error("evaluate: name either a corpus, or clips, or results with their references.")
    with FaceDetector() as detector:
        yield _cases(settings, request, detector)


def _cases(settings: Settings, request: Request, detector: FaceDetector) -> list[Case]:
    instruments = Instruments(detector, request.seconds, request.wide)
    if request.results:
        counts = len(request.results), len(request.references)
        if counts[0] != counts[1]:
            raise option_error(f"reference: {counts[0]} results need as many references, not {counts[1]}.")
        pairs = zip(request.results, request.references, strict=True)
        return [_named(result, partial(FinishedCase, result, film, settings, instruments)) for result, film in pairs]
    paths = video_paths(request.clips)[: request.limit] if request.clips else []
    verify(settings)
    synthesizer = load(settings)
    if request.corpus is not None:
        return [*prepared_cases(request.corpus, synthesizer, MeshReader(detector), request.limit)]
    return [_named(path, partial(VideoCase, path, settings, synthesizer, instruments)) for path in paths]


def _named(path: Path, make: Callable[[], Case]) -> Case:
    """Make the case of a file; an error says which file it is about."""
    try:
        return make()
    except InputError as error:
        named = error.message if path.name in error.message else f"{path.name}: {error.message}"
        raise InputError(error.code, named) from error


def video_paths(places: Sequence[Path]) -> list[Path]:
    """Return the files named, and those of the folders named, in order. Raises InputError for what is not there."""
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += sorted(p for p in place.iterdir() if p.suffix.lower() in _SUFFIXES)
        elif place.is_file():
            found.append(place)
        else:
            raise InputError(ErrorCode.VIDEO_UNREADABLE, f"There is no file or folder {place}.")
    if not found:
        raise InputError(ErrorCode.VIDEO_UNREADABLE, "There is no video in the folders named.")
    return found
