"""Any film keeps its promise: for films made at random from what containers and codecs allow, the output has the
frames, the length, the proportions and the timing that the film shows in a player.

A film that failed once stays as an `example` of its own. To try more kinds, add to KINDS, SHAPES or VOICES.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.core.checks import never_stop
from app.core.errors import ErrorCode, InputError
from app.core.jobs import JobOptions
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from tests.worker.clips import write_voice
from tests.worker.films import MPEG2, X264, Part, expected_luma, flash_in, join_files, number_in, run_ffmpeg, write_part
from worker.media.colour import split_planes
from worker.media.decode import Source, decode, open_source
from worker.media.encode import Encoder
from worker.media.sound_feed import PlayedSound

CASES: Final = 300
X265: Final = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p")
VP8: Final = ("-c:v", "libvpx", "-b:v", "2M", "-deadline", "realtime", "-auto-alt-ref", "0")
VP9: Final = ("-c:v", "libvpx-vp9", "-b:v", "2M", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p")
MJPEG: Final = ("-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuv420p", "-color_range", "tv", "-strict", "unofficial")
MPEG4: Final = ("-c:v", "mpeg4", "-q:v", "2")
CODECS: Final = {"h264": X264, "hevc": X265, "vp8": VP8, "vp9": VP9, "mjpeg": MJPEG, "mpeg4": MPEG4, "mpeg2": MPEG2}
REORDERING: Final = {"h264", "mpeg2"}
BROADCAST_RATES: Final = tuple(Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50"))
RATES: Final = (*(Fraction(rate) for rate in ("12", "15", "60000/1001", "60")), *BROADCAST_RATES)
SIZES: Final = ((96, 64), (64, 96), (128, 64), (80, 80))
RATE_SLACK: Final = Fraction(1, 500)  # in milliseconds, 60 and 60000/1001 differ only after a second
HALF: Final = Fraction(1, 2)
# Of the luma on average, after two lossy encoders, a change of size, and a place on black in an even row.
TOLERANCE: Final = 12.0


@dataclass(frozen=True)
class Kind:
    """What a container can hold. traits: of joins, sizes, aspects, turns, crops, gaps and starts."""

    suffix: str
    codecs: Sequence[str]
    traits: frozenset[str]


KINDS: Final = (
    Kind("mp4", ("h264", "hevc", "mpeg4"), frozenset({"aspects", "turns", "gaps", "starts"})),
    Kind("mov", ("h264",), frozenset({"aspects", "turns", "crops", "gaps", "starts"})),
    Kind("mkv", ("h264", "hevc", "vp9"), frozenset({"joins", "turns", "gaps", "starts"})),
    Kind("mkv", ("h264",), frozenset({"crops", "turns"})),
    Kind("webm", ("vp8", "vp9"), frozenset({"joins", "sizes", "gaps"})),
    Kind("ts", ("h264", "hevc", "mpeg2"), frozenset({"joins", "sizes", "aspects", "starts"})),
    Kind("vob", ("mpeg2",), frozenset({"joins", "aspects"})),
    Kind("avi", ("mjpeg", "mpeg4"), frozenset()),
    Kind("flv", ("h264",), frozenset()),
)
VOICES: Final = {  # name of the file, and options of ffmpeg
    "wav": ("voice.wav", ()),
    "stereo": ("voice.wav", ("-ar", "44100", "-ac", "2")),
    "aac": ("voice.m4a", ("-c:a", "aac")),
    "opus": ("voice.ogg", ("-c:a", "libopus", "-ar", "48000")),
}


@dataclass(frozen=True)
class Film:
    """A film to be made. has_gaps: each third frame is missing, and the others keep their times."""

    suffix: str
    codec: str
    rate: Fraction
    parts: tuple[Part, ...]
    interlaced: tuple[bool, ...] = (False,)
    key_frames: int = 12
    reordered: int = 0
    start_s: float = 0.0
    has_gaps: bool = False
    flash: int = 4  # no third frame, which may be missing
    voice: str = "wav"

    def write(self, folder: Path) -> Path:
        """Write the film into a folder and return its file."""
        files = []
        for index, (part, is_interlaced) in enumerate(zip(self.parts, self.interlaced, strict=True)):
            options = [*CODECS[self.codec], "-g", str(self.key_frames)]
            if self.codec in REORDERING:
                options += ["-bf", str(self.reordered)]
            if is_interlaced:
                options += ["-flags", "+ildct+ilme", *(("-x264-params", "tff=1") if self.codec == "h264" else ())]
            if self.has_gaps:
                options += ["-vf", "select=mod(n\\,3)", "-fps_mode", "passthrough"]
            if self.start_s:
                options += ["-output_ts_offset", str(self.start_s)]
            path = folder / f"{index}.{self.suffix}"
            files.append(write_part(path, part, self.rate, *options, flash=self.flash))
        return files[0] if len(files) == 1 else join_files(folder / f"film.{self.suffix}", files)

    def frames(self) -> list[tuple[Fraction, Part, int]]:
        """Return the time of each frame in seconds from the first one, with its part and its number."""
        numbered = [(part, number) for part in self.parts for number in part.numbers]
        timed = [(i / self.rate, *one) for i, one in enumerate(numbered) if not self.has_gaps or i % 3]
        return [(time - timed[0][0], part, number) for time, part, number in timed]

    @property
    def is_loose(self) -> bool:
        """Return whether a time may be a frame off: in gaps, and on a disc, where readers put times between a few."""
        return self.has_gaps or self.suffix == "vob"

    @property
    def is_refused(self) -> bool:
        """Return whether a reader gives no right pictures of all parts.

        A reader of Matroska stops after the second part, and decodes it with the codec headers of the first one.
        """
        return self.suffix in ("mkv", "webm") and (len(self.parts) > 2 or len(set(self.interlaced)) > 1)

    def lost(self) -> list[int]:
        """Return, for each frame, how many frames are lost up to it; what is shown then comes so many frames early.

        The MPEG-2 decoder of ffmpeg starts anew where the size changes, or the interlacing of a picture whose coded
        height depends on it. Then it drops the frame before, which it had not yet given out. The next part of a joined
        file follows the last frame that was given out, so it comes early.
        """
        counts, count = [], 0
        for index, part in enumerate(self.parts):
            counts += [count] * len(part.numbers)
            if self.codec == "mpeg2" and index + 1 < len(self.parts) and self._starts_anew(index + 1):
                count += 1
                counts[-1] = count
        return counts

    def _starts_anew(self, index: int) -> bool:
        before, part = self.parts[index - 1], self.parts[index]
        if (before.width, before.height) != (part.width, part.height):
            return True
        coded_height_changes = -(-part.height // 16) % 2 == 1  # whole blocks of 16 rows, of 32 if interlaced
        return coded_height_changes and self.interlaced[index - 1] != self.interlaced[index]

    def usual(self) -> Part:
        """Return the part whose shape most frames have."""
        lengths: dict[tuple[object, ...], int] = {}
        for part in self.parts:
            key = (part.width, part.height, part.aspect)
            lengths[key] = lengths.get(key, 0) + len(part.numbers)
        return max(self.parts, key=lambda part: lengths[part.width, part.height, part.aspect])


@st.composite
def films(draw: st.DrawFn) -> Film:
    """Draw a film that its container and codec can hold."""
    kind = draw(st.sampled_from(KINDS))
    codec = draw(st.sampled_from(kind.codecs))
    rate = draw(st.sampled_from(BROADCAST_RATES if codec == "mpeg2" else RATES))
    count = draw(st.integers(1, 3)) if "joins" in kind.traits else 1
    turn = draw(st.sampled_from(["", "90", "180", "270", "mirrored"])) if "turns" in kind.traits else ""
    margin = draw(st.sampled_from([4, 8])) if "crops" in kind.traits else 0
    size, aspect = draw(st.sampled_from(SIZES)), Fraction(1)
    parts, first = [], 0
    for _ in range(count):
        size = draw(st.sampled_from(SIZES)) if "sizes" in kind.traits else size
        if "aspects" in kind.traits:
            aspect = _aspect(draw, codec, size)
        length = draw(st.integers(8, 30))
        parts.append(Part(range(first, first + length), *size, aspect, turn, margin))
        first += length
    interlaced = tuple(codec in REORDERING and draw(st.booleans()) for _ in parts)
    return Film(
        suffix=kind.suffix,
        codec=codec,
        rate=rate,
        parts=tuple(parts),
        interlaced=interlaced,
        key_frames=draw(st.sampled_from([1, 5, 12, 250])),
        # a disc stores few times; those that its reader puts between them can be a frame off if frames are reordered
        reordered=0 if kind.suffix == "vob" else draw(st.integers(0, 2)),
        start_s=draw(st.sampled_from([0.0, 0.52, 8.0, 95_440.0])) if "starts" in kind.traits else 0.0,
        has_gaps="gaps" in kind.traits and count == 1 and rate <= 30 and draw(st.booleans()),
        flash=draw(st.integers(2, first // 3)) * 3 - 2,
        voice=draw(st.sampled_from(sorted(VOICES))),
    )


def _aspect(draw: st.DrawFn, codec: str, size: tuple[int, int]) -> Fraction:
    if codec == "mpeg2":  # it stores the proportions of the whole picture, and only these
        return draw(st.sampled_from([Fraction(4, 3), Fraction(16, 9)])) / Fraction(*size)
    return draw(st.sampled_from([Fraction(1), Fraction(16, 15), Fraction(64, 45), Fraction(8, 9)]))


@pytest.mark.slow
@settings(max_examples=CASES, deadline=None, derandomize=True, database=None)
@given(films())
@example(Film("ts", "h264", Fraction(25), (Part(range(38)), Part(range(38, 75))), (False, False)))
@example(
    Film("ts", "h264", Fraction(60), (Part(range(19), 80, 80, Fraction(16, 15)), Part(range(19, 40))), (False, False))
)
@example(Film("vob", "mpeg2", Fraction(24000, 1001), (Part(range(8), aspect=Fraction(8, 9)),), reordered=1))
@example(Film("mkv", "h264", Fraction(24), (Part(range(11), 128, 64, margin=4),)))
@example(Film("ts", "h264", Fraction(25), (Part(range(20)), Part(range(20, 50), 64, 96)), (False, True), 12, 2))
@example(Film("mkv", "h264", Fraction(25), (Part(range(20)), Part(range(20, 50))), (False, True), 12, 2))
@example(Film("mkv", "h264", Fraction(25), (Part(range(20)), Part(range(20, 50))), (True, False), 5))
def test_a_film_keeps_its_promise(film: Film) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = film.write(folder)
        if film.is_refused:
            with pytest.raises(InputError, match="joined") as caught:
                probe_video(path, Limits())
            assert caught.value.code == ErrorCode.VIDEO_UNREADABLE
            return
        source = open_source(path, probe_video(path, Limits()), find_ffmpeg(None), never_stop)
        check_facts(film, source)
        whole = list(decode(source, 0, source.frames, never_stop))
        check_pictures(film, source, [split_planes(planes)[0] for planes in whole])
        first = len(whole) * 2 // 3
        part = list(decode(source, first, len(whole), never_stop))
        assert all(np.array_equal(one, other) for one, other in zip(part, whole[first:], strict=True))
        check_sync(film, source, whole, folder)


def check_facts(film: Film, source: Source) -> None:
    frames, facts = film.frames(), source.facts
    length_s = frames[-1][0] + 1 / film.rate
    slack_s = 1.01 / film.rate if film.has_gaps else length_s * RATE_SLACK
    assert facts.duration_s == pytest.approx(float(length_s), abs=float(slack_s))
    if not film.has_gaps:
        assert facts.frames == len(frames)
    if not film.has_gaps and (film.suffix not in ("mkv", "webm", "flv") or length_s > 1.5):
        assert facts.fps == str(film.rate)
    assert facts.clock_restarts == len(film.parts) - 1
    width, height = film.usual().shown_size
    slack = 1 if film.suffix in ("mkv", "webm") else 0  # they store the shown size in whole pixels
    assert abs(facts.width - width) <= slack
    assert abs(facts.height - height) <= slack


def check_pictures(film: Film, source: Source, shown: list[np.ndarray]) -> None:
    frames, lost, size = film.frames(), film.lost(), (source.facts.width, source.facts.height)
    places = [int(time * source.rate + HALF) for time, _, _ in frames]
    for place, padded in enumerate(shown):
        luma = padded[: size[1], : size[0]]
        index = max(i for i, other in enumerate(places) if other <= place)
        _, part, number = frames[index]
        slack = 1 if film.is_loose else 0
        near = frames[max(0, index - slack) : index + slack + lost[index] + 1]
        # the shape of the pixels changes at a time, so what comes early may have that of the part before
        shapes = [replace(one, aspect=other.aspect) for _, one, _ in near for _, other, _ in near]
        shapes = shapes if lost[index] else [part]
        assert {number_in(luma, shape) for shape in shapes} & {one for _, _, one in near}
        if number_in(luma, part) == number:
            assert np.abs(luma - expected_luma(part, number, size, film.flash)).mean() < TOLERANCE


def check_sync(film: Film, source: Source, frames: Sequence[np.ndarray], folder: Path) -> None:
    """Check that a flash and a beep at the same moment are at the same moment in the output."""
    timed = film.frames()
    flash_s = next(float(time) for time, _, number in timed if number == film.flash)
    length_s = float(len(frames) / source.rate)
    plain = write_voice(folder / "plain.wav", [(flash_s, length_s + 0.5)], length_s + 0.5)
    name, options = VOICES[film.voice]
    run_ffmpeg("-i", str(plain), *options, str(folder / name))
    sound = PlayedSound(folder / name, probe_audio(folder / name, Limits()), 0.0)
    output = folder / "out.mp4"
    with Encoder(output, source, len(frames), sound, JobOptions(preset="ultrafast", crf=8), never_stop) as encoder:
        for planes in frames:
            encoder.write(planes)
        encoder.finish()
    with av.open(str(output)) as container:
        shown = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        stream = container.streams.video[0]
        assert (len(shown), stream.average_rate) == (len(frames), source.rate)
    with av.open(str(output)) as container:
        heard = np.concatenate([frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)])
        rate_hz = container.streams.audio[0].codec_context.sample_rate
    width, height = source.facts.width, source.facts.height
    parts = [
        max((one for one in timed if one[0] * source.rate <= i + HALF), key=timed.index)[1] for i in range(len(shown))
    ]
    bright = [flash_in(luma[:height, :width], part) for luma, part in zip(shown, parts, strict=True)]
    lost = film.lost()
    if film.flash == 0 or lost[film.flash] == lost[film.flash - 1]:  # else the flash itself is lost
        late_s = float(int(np.argmax(bright)) / source.rate) - flash_s
        assert -0.6 - lost[film.flash] <= late_s * source.rate <= 0.6
    beep_s = np.flatnonzero(np.abs(heard) > 0.1)[0] / rate_hz
    assert beep_s == pytest.approx(flash_s, abs=0.03)
    assert len(heard) / rate_hz == pytest.approx(length_s, abs=0.03)
