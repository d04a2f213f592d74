"""What a job takes from earlier jobs of its owner: faces of a video that is known, features of a voice that is known.

All findings are taken bit by bit as they would be found again. So their keys hold everything that they depend on: the
content of the input, the options that matter, our code, the libraries, and the ffmpeg that decodes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from app.core.checks import Check
from app.core.own_modules import ROOT
from app.core.storage.cache import Entry, JobCache
from model.arrays import I16
from model.sound import EncodedSound
from model.speech_encoder.port import FEATURES, SpeechEncoder, feature_count
from worker.faces.detect import FaceDetector
from worker.faces.face_finder import FaceFinder
from worker.faces.kept_arrays import keep_arrays, read_arrays
from worker.faces.kept_tracks import KeptTracks
from worker.faces.recalled import RecallingDetector
from worker.faces.reference import CropShape, ReferenceCrops
from worker.faces.subject import Chooser
from worker.media.decode import Source
from worker.media.encoded_voice import FEATURES_FILE, encode_voice

if TYPE_CHECKING:
    from worker.pipeline.run_context import RunContext

OWN_PACKAGES: Final = ("app/core/probing", "worker", "model")
LIBRARIES: Final = ("av", "ctranslate2", "mediapipe", "numpy", "opencv-contrib-python", "opencv-python-headless")
VOICE_BLOCK: Final = 1 << 20  # samples that are hashed at once

_log = logging.getLogger("lipsync.cache")


@contextmanager
def recalling(
    context: RunContext, source: Source, detector: FaceDetector
) -> Iterator[tuple[FaceFinder, KeptTracks | None]]:
    """Provide the detector for the numbered frames of a source, one that remembers, and the tracked faces of a source.

    Without a cache these are the detector itself and None.
    """
    cache = context.cache
    if cache is None or source.is_still:
        yield detector, None
        return
    film = film_key(source)
    with (
        RecallingDetector(detector, lambda block: cache.entry("faces", film, block)) as finder,
        KeptTracks(lambda rule, block: cache.entry("tracks", film, rule, block)) as kept,
    ):
        yield finder, kept


def film_key(source: Source) -> str:
    """Return a text that tells all that the decoded frames of a source depend on."""
    facts = source.facts.model_dump_json() + repr(source.picture)
    program = Path(source.ffmpeg).stat()
    decoder = (source.ffmpeg, program.st_size, program.st_mtime_ns, source.codecs.decoder_gpu is not None)
    return repr((facts, source.conversion, decoder, program_fingerprint()))


def kept_choice(entry: Entry | None, shape: CropShape) -> tuple[Chooser, ReferenceCrops] | None:
    """Return the chosen faces and the references of an entry; None if it has none."""

    def choice_of(arrays: Mapping[str, Any]) -> tuple[Chooser, ReferenceCrops]:
        chooser = Chooser.of_facts(json.loads(str(arrays["chooser"])))
        return chooser, ReferenceCrops.of_arrays(arrays, shape, chooser)

    return None if entry is None else read_arrays(entry, choice_of)


def keep_choice(entry: Entry | None, chooser: Chooser, references: ReferenceCrops) -> None:
    """Keep the chosen faces and the references of a clip."""
    if entry is not None:
        keep_arrays(entry, {"chooser": np.array(json.dumps(chooser.facts())), **references.arrays()})


def recall_features(
    cache: JobCache | None, encoder: SpeechEncoder, voice: I16, work_dir: Path, check: Check
) -> EncodedSound:
    """Return the features of a voice (n,) int16, in a file in work_dir: from the cache, or else by the encoder."""
    entry = None if cache is None else cache.entry("features", encoder.name, _voice_hash(voice), program_fingerprint())
    path, known = work_dir / FEATURES_FILE, None if entry is None else entry.get()
    shape = feature_count(len(voice)), FEATURES
    if known is not None:
        try:
            shutil.copyfile(known, path)
            if path.stat().st_size == 2 * shape[0] * shape[1]:
                return EncodedSound(np.memmap(path, np.float16, "r", shape=shape))
        except OSError as error:
            _log.warning("features not read from the cache error=%s", error)
    sound = encode_voice(encoder, voice, work_dir, check)

    def write(partial: Path) -> None:
        shutil.copyfile(path, partial)

    if entry is not None:
        entry.put(write)
    return sound


def _voice_hash(voice: I16) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(voice), VOICE_BLOCK):
        digest.update(np.ascontiguousarray(voice[start : start + VOICE_BLOCK]).data)
    return digest.hexdigest()


@functools.cache
def program_fingerprint() -> str:
    """Return a hash of our code and of the libraries and processor on which findings depend."""
    digest = hashlib.sha256()
    for package in OWN_PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    for name in LIBRARIES:
        try:
            digest.update(f"{name} {version(name)}".encode())
        except PackageNotFoundError:
            digest.update(f"{name} none".encode())
    digest.update(repr(os.uname().machine).encode())
    return digest.hexdigest()
