"""Dubs: stretches of a video, each with a voice and a face of its own. The option that lists them is `segments`.

In the code an entry of this option is a dub, because a segment is a range of output frames of a long clip.

A dub begins and ends at times of the video. Its voice begins where it begins. A voice that is shorter is followed by
silence, and a longer one is cut off. Dubs may overlap in time if they are of different faces: two people who speak at
once. What a dub does not say itself (face, strength, ...), the options of the job say; a job's record holds what really
applies.

The voice of a dub is a part of the same form, an address, or an upload. Several dubs may name the same one: it is
stored once, under a name of its own (`voice_names`). The record does not keep addresses: they may hold secrets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.core.face_choice import FACE_PATTERN, SPEAKING, parse_face
from app.core.file_names import UPLOAD_START, is_address, is_elsewhere

MAX_DUBS: Final = 100
MAX_AT_ONCE: Final = 8  # dubs that overlap in time
MIN_STRETCH_S: Final = 0.1  # as much sound as a voice must have
MAX_NAME_CHARACTERS: Final = 4096
VOICE_PREFIX: Final = "voice-"


class DubOptions(BaseModel):
    """Options of a job that may differ from dub to dub; one that is left out is that of the job."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    on_missing_face: Literal["pass_through", "fail"] | None = None
    silence_gate: bool | None = None
    strength: float | None = Field(None, ge=0, le=1)
    padding: float | None = Field(None, ge=-0.3, le=0.5)


class Dub(BaseModel):
    """Stretch of the video with a voice and a face of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    start_s: float = Field(ge=0, description="Time of the video at which the stretch and its voice begin, in seconds.")
    end_s: float = Field(gt=0, description="Time of the video at which the stretch ends, in seconds.")
    audio: str = Field(
        min_length=1,
        max_length=MAX_NAME_CHARACTERS,
        description=(
            "The voice: the name of a file of the form, an address, or `upload:ID`. In answers, `url:N` and "
            "`upload:N` stand for an address and an upload that the entry N was the first to name."
        ),
    )
    face: Annotated[str, AfterValidator(parse_face)] | None = Field(
        None,
        max_length=32,
        json_schema_extra={"pattern": FACE_PATTERN},
        description=(
            "The face that gets this voice; without it, the job's. `largest` and `point` are meant within the stretch; "
            "`index:N` counts the people of the whole video."
        ),
    )
    options: DubOptions = Field(DubOptions(), description="Options of this stretch that differ from the job's.")

    @model_validator(mode="after")
    def _check_length(self) -> Dub:
        if self.end_s < self.start_s + MIN_STRETCH_S - 1e-9:
            raise ValueError(f"end_s must be at least {MIN_STRETCH_S:g} s after start_s")
        return self

    @property
    def length_s(self) -> float:
        """Return the duration of the stretch in seconds."""
        return self.end_s - self.start_s


def dub_name(number: int) -> str:
    """Return how errors and warnings call a dub, counted from 0."""
    return f"segments[{number}]"


def check_dubs_together(dubs: Sequence[Dub], face: str, sync_mode: str) -> None:
    """Raise ValueError if dubs do not fit each other or the job's options; face: of dubs that name none."""
    if dubs and sync_mode not in ("cut_off", "silence"):
        raise ValueError(f"sync_mode cannot be {sync_mode} with segments, whose output is as long as the video")
    for number, dub in enumerate(dubs):
        for earlier, other in enumerate(dubs[:number]):
            faces = {dub.face or face, other.face or face}
            if _overlap(dub, other) and (len(faces) == 1 or faces & {"all", SPEAKING}):
                raise ValueError(
                    f"{dub_name(number)} overlaps {dub_name(earlier)} in time, and both are for the same face"
                )
        if sum(other.start_s <= dub.start_s < other.end_s for other in dubs) > MAX_AT_ONCE:
            raise ValueError(f"at most {MAX_AT_ONCE} segments may overlap in time, as {dub_name(number)} does")


def _overlap(one: Dub, other: Dub) -> bool:
    return one.start_s < other.end_s and other.start_s < one.end_s


def voice_names(dubs: Sequence[Dub]) -> list[str]:
    """Return the name in the storage of the voice of each dub; dubs with the same voice share one."""
    texts = [dub.audio for dub in dubs]
    return [f"{VOICE_PREFIX}{texts.index(text)}" for text in texts]


def without_addresses(dubs: Sequence[Dub]) -> tuple[Dub, ...]:
    """Return the dubs with `url:N` in place of addresses and `upload:N` of uploads; `voice_names` stays the same.

    So the same request with the same files is the same, wherever its files came from.
    """
    texts = [dub.audio for dub in dubs]

    def kept(text: str) -> str:
        if not is_elsewhere(text):
            return text
        return f"{'url:' if is_address(text) else UPLOAD_START}{texts.index(text)}"

    return tuple(dub.model_copy(update={"audio": kept(dub.audio)}) for dub in dubs)
