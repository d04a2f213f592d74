"""Requests for an evaluation, and their cases: prepared clips, videos to redraw, or finished videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from app.core.errors import ErrorCode, InputError
from app.core.options import option_error
from app.core.settings import Settings
from model.evaluation.cases import Case, prepared_cases
from model.evaluation.heard import Hear
from model.silence_gate import gated
from worker.evaluation.video_cases import MeasuringTools, MeshReader, open_finished_case, open_video_case
from worker.faces.detect import FaceDetector
from worker.loaded_network import checkpoint_path, load_generator, settle_network
from worker.media.decode import VIDEO_SUFFIXES


@dataclass(frozen=True)
class Request:
    """Request for an evaluation: a folder of prepared clips, or videos to redraw, or results with their references.

    references: the film that each result was made from; none: only the match of lips and voice is known. limit: most
    clips. seconds: longest part of each video that is used. wide: also keep the crops that SyncNet needs.
    """

    corpus: Path | None = None
    clips: Sequence[Path] = ()
    results: Sequence[Path] = ()
    references: Sequence[Path] = ()
    limit: int = 48
    seconds: float = 20.0
    wide: bool = False

    @property
    def is_without_film(self) -> bool:
        """Return whether finished videos are evaluated without the films that they were made from."""
        return bool(self.results) and not self.references

    def subject(self, settings: Settings) -> str:
        """Return a sentence that names what is evaluated."""
        if self.results:
            how = "without" if self.is_without_film else "against"
            return f"{len(self.results)} finished videos {how} their films."
        what = f"prepared clips of {self.corpus.name}" if self.corpus else "videos redrawn by the whole pipeline"
        return f"{checkpoint_path(settings).name} on {what}."


@contextmanager
def opened_cases(settings: Settings, request: Request) -> Iterator[list[Case]]:
    """Open the detector, load the network if the request needs it, and provide the cases of the request.

    Raises InputError, ServiceError or CorpusError for cases that cannot be evaluated.
    """
    if sum(map(bool, (request.corpus, request.clips, request.results))) != 1:
        raise option_error("evaluate: name either a corpus, or clips, or results with their references.")
    with FaceDetector() as detector:
        yield _cases(settings, request, detector)


def _cases(settings: Settings, request: Request, detector: FaceDetector) -> list[Case]:
    tools = MeasuringTools(settings, detector, request.seconds, request.wide)
    if request.results:
        films = request.references or request.results  # a result without a film gives the place of the face itself
        counts = len(request.results), len(films)
        if counts[0] != counts[1]:
            raise option_error(f"reference: {counts[0]} results need as many references, not {counts[1]}.")
        pairs = zip(request.results, films, strict=True)
        return [_named(result, partial(open_finished_case, result, film, tools)) for result, film in pairs]
    paths = video_paths(request.clips)[: request.limit] if request.clips else []
    synthesizer = load_generator(settle_network(settings))
    tools = replace(tools, hear=gated_hearing(synthesizer.hear))
    if request.corpus is not None:
        return [*prepared_cases(request.corpus, synthesizer, MeshReader(detector), request.limit)]
    return [_named(path, partial(open_video_case, path, synthesizer, tools)) for path in paths]


def gated_hearing(hear: Hear) -> Hear:
    """Return the hearing of a network as a job uses it: the voice passes the silence gate first."""
    return lambda voice, times_s: hear(gated(voice), times_s)


def _named(path: Path, open_case: Callable[[], Case]) -> Case:
    """Open the case of a file; the message of an InputError names the file."""
    try:
        return open_case()
    except InputError as error:
        message = error.message if path.name in error.message else f"{path.name}: {error.message}"
        raise InputError(error.code, message) from error


def video_paths(paths: Sequence[Path]) -> list[Path]:
    """Return the given files and the videos in the given folders, in order. Raises InputError for a missing path."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(inner for inner in path.iterdir() if inner.suffix.lower() in VIDEO_SUFFIXES)
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(ErrorCode.VIDEO_UNREADABLE, f"There is no file or folder {path}.")
    if not found:
        raise InputError(ErrorCode.VIDEO_UNREADABLE, "There is no video in the folders named.")
    return found
