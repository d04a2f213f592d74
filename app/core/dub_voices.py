"""The voices of dubs at the door: each entry of the option `segments` names a file, here or elsewhere.

Every entry must name something that is there, and every file of the form must be of use. An error names the entry.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from app.core.dubs import Dub, dub_name, voice_names, without_addresses
from app.core.file_names import is_elsewhere
from app.core.jobs import JobOptions
from app.core.options import effective_options, option_error, quoted
from app.core.storage.port import PARTS

ALWAYS_USED: Final = ("video", "audio_mix")  # files of a job whose dubs name the voices


def check_voices(options: JobOptions, files: Collection[str], parts: Collection[str]) -> None:
    """Raise InputError(option_invalid) if the files of a job are not those that its options ask for.

    files: names of the files of the form. parts: of video, audio and audio_mix, those that are sent in any way.
    """
    if not options.segments:
        if "audio" not in parts:
            raise option_error("audio: this file is required.")
        return
    for number, dub in enumerate(options.segments):
        check_is_there(voice_place(number), dub.audio, files)
    if "audio" in parts and "audio" not in files:
        raise option_error("audio: with segments, each of them names its own voice.")


def check_is_there(place: str, name: str, files: Collection[str]) -> None:
    """Raise InputError(option_invalid) if a place of a request names a file of the form that the form does not have.

    files: names of the files of the form.
    """
    if not is_elsewhere(name) and name not in files:
        raise option_error(f"{place}: the form has no file of this name.")


def check_all_used(options: JobOptions, files: Collection[str]) -> None:
    """Raise InputError(option_invalid) for a file of a job's form that no dub names."""
    used = {*(dub.audio for dub in options.segments), *_parts(options)}
    for name in files:
        if name not in used:
            raise option_error(f"{quoted(name)}: no entry of `segments` names this file.")


def job_files(options: JobOptions, sent: Mapping[str, Path], fetched: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files of a job beside the voices of dubs, by name: those that were sent or fetched."""
    return {name: path for name, path in {**sent, **fetched}.items() if name in _parts(options)}


def _parts(options: JobOptions) -> tuple[str, ...]:
    return ALWAYS_USED if options.segments else PARTS


def voice_place(number: int) -> str:
    """Return where a request names the voice of a dub, counted from 0, for errors."""
    return f"{dub_name(number)}.audio"


def voices_elsewhere(dubs: Collection[Dub]) -> dict[str, str]:
    """Return what dubs name that does not come with the form, by its place for errors."""
    return {voice_place(number): dub.audio for number, dub in enumerate(dubs) if is_elsewhere(dub.audio)}


def voice_paths(dubs: Collection[Dub], files: Mapping[str, Path], fetched: Mapping[str, Path]) -> dict[str, Path]:
    """Return the path of each voice, by its name in the storage; several of them may be one file."""
    dubs = tuple(dubs)
    sources = {**files, **fetched}
    return {name: sources[dub.audio] for name, dub in zip(voice_names(dubs), dubs, strict=True)}


def options_to_keep(options: JobOptions) -> JobOptions:
    """Return the options for the record of a job: those that really apply, without the addresses of voices."""
    options = effective_options(options)
    return options.model_copy(update={"segments": without_addresses(options.segments)})
