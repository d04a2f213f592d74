"""From phonemes to the movement of a mouth: one row of articulatory parameters for each video frame.

Each phoneme has a target for lips, jaw and tongue, and a strength for each of them. The strength is full inside the
phoneme and fades outside it (dominance functions: Löfqvist 1990; Cohen and Massaro 1993), so neighbours mix: rounding
starts early, and a weak consonant takes the shape of the vowels around it. Contacts are always made: the lips meet for
p b m, and the lower lip meets the teeth for f v. Movements are then smoothed, and their speed is limited.

The lips part before a sentence: in recordings the mouth opens 100 to 300 ms before the voice starts (Chandrasekaran et
al. 2009, https://doi.org/10.1371/journal.pcbi.1000436).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from model.arrays import F32, F64
from model.articulation import Channel
from model.corpus.speech.speech import Phone

FPS = 25.0
_STEP_S = 0.01  # the curves are built at 100 Hz
_LEAD_S = 0.005  # by which the lips are ahead of the sound
_SMOOTHING_S = 0.018
_LONG_PAUSE_S = 0.15  # after a longer pause, the lips part before speech
_MAX_SPEED = 14.0  # of the aperture, in full openings a second


@dataclass(frozen=True)
class Target:
    """Target of a phoneme for the mouth.

    lips: strength of its aperture, jaw and tongue. shape: strength of its width and protrusion. closed: the lips meet.
    tucked: the lower lip meets the upper teeth.
    """

    aperture: float
    width: float = 0.0
    protrusion: float = 0.0
    jaw: float = 0.0
    tongue: float = 0.0
    lips: float = 1.0
    shape: float = 1.0
    closed: bool = False
    tucked: bool = False


@dataclass(frozen=True)
class Style:
    """Way in which a speaker moves.

    opening, shaping, jaw: factors of the aperture, of width and protrusion, and of the jaw. lead_s: by how many seconds
    the lips are ahead of the sound. ready_s: how long before speech the lips part. smile: 0 for none .. 1 for a wide
    smile with parted lips; it stays in the resting face too.
    """

    opening: float = 1.0
    shaping: float = 1.0
    jaw: float = 1.0
    lead_s: float = _LEAD_S
    ready_s: float = 0.25
    smile: float = 0.0

    @staticmethod
    def random(rng: np.random.Generator) -> Style:
        """Draw the style of a speaker."""
        return Style(
            opening=float(np.exp(rng.uniform(np.log(0.75), np.log(1.7)))),
            shaping=rng.uniform(0.8, 1.3),
            jaw=rng.uniform(0.7, 1.25),
            lead_s=_LEAD_S + rng.uniform(-0.01, 0.01),
            ready_s=rng.uniform(0.15, 0.32),
            smile=max(0.0, rng.uniform(-2.0, 1.0)),
        )


_REST = Target(0.0, lips=1.0, shape=0.6)
_READY = Target(0.22, jaw=0.18, lips=0.8, shape=0.3)
_BILABIAL = Target(0.0, 0.05, jaw=0.12, lips=1.2, shape=0.25, closed=True)
_LABIODENTAL = Target(0.12, 0.1, jaw=0.1, lips=1.2, shape=0.4, tucked=True)
_HISS = Target(0.15, 0.35, jaw=0.06, tongue=0.3, lips=0.9, shape=0.45)
_HUSH = Target(0.26, -0.5, 0.7, 0.12, 0.3, lips=1.0, shape=0.9)
_SOFT_HUSH = Target(0.2, 0.1, 0.2, 0.1, 0.3, lips=0.9, shape=0.5)
_ALVEOLAR = Target(0.2, 0.15, jaw=0.2, tongue=0.7, lips=0.55, shape=0.12)
_VELAR = Target(0.29, 0.05, jaw=0.35, lips=0.3, shape=0.08)
_LATERAL = Target(0.32, 0.1, jaw=0.4, tongue=0.95, lips=0.5, shape=0.15)
_DENTAL = Target(0.2, 0.1, jaw=0.2, tongue=1.0, lips=0.8, shape=0.25)
_WIDE = Target(0.3, 0.85, jaw=0.2, tongue=0.5, lips=0.9, shape=1.0)
_ROUND = Target(0.26, -1.0, 1.0, 0.25, lips=1.0, shape=1.2)

_TARGETS: dict[str, Target] = {
    **dict.fromkeys("pbm", _BILABIAL),
    **dict.fromkeys("fvʋɱ", _LABIODENTAL),
    **dict.fromkeys("sz", _HISS),
    **dict.fromkeys("ʃʒʂʐ", _HUSH),
    **dict.fromkeys("ɕʑç", _SOFT_HUSH),
    **dict.fromkeys("tdnɾɽ", _ALVEOLAR),
    **dict.fromkeys("kɡgŋxɣɴqχʁcɟɲʎʔ", _VELAR),
    **dict.fromkeys("lɫɭ", _LATERAL),
    **dict.fromkeys("θð", _DENTAL),
    **dict.fromkeys("ijʝ", _WIDE),
    **dict.fromkeys("uʍ", _ROUND),
    "w": Target(0.16, -1.0, 1.0, 0.15, lips=1.1, shape=1.5),
    **dict.fromkeys("ɸβ", Target(0.07, 0.0, 0.2, 0.1, lips=1.1, shape=0.3)),
    **dict.fromkeys("ɹɻ", Target(0.21, -0.45, 0.45, 0.2, lips=0.7, shape=0.6)),
    "r": Target(0.23, 0.0, jaw=0.25, tongue=0.7, lips=0.5, shape=0.2),
    **dict.fromkeys("hɦ", Target(0.32, 0.0, jaw=0.35, lips=0.15, shape=0.05)),
    **dict.fromkeys("aɑä", Target(1.0, 0.05, jaw=1.0)),
    **dict.fromkeys("æ", Target(0.85, 0.4, jaw=0.8)),
    **dict.fromkeys("ʌɐɶ", Target(0.68, 0.05, jaw=0.65, shape=0.7)),
    **dict.fromkeys("əɘᵻ", Target(0.4, 0.0, jaw=0.38, lips=0.6, shape=0.35)),
    **dict.fromkeys("ɛ", Target(0.6, 0.4, jaw=0.55)),
    **dict.fromkeys("e", Target(0.48, 0.6, jaw=0.4)),
    **dict.fromkeys("ɪ", Target(0.36, 0.5, jaw=0.3, tongue=0.3, lips=0.8, shape=0.8)),
    **dict.fromkeys("ɨɯ", Target(0.3, 0.3, jaw=0.25, lips=0.8, shape=0.7)),
    **dict.fromkeys("ɔɒ", Target(0.78, -0.55, 0.5, 0.8)),
    **dict.fromkeys("oɤ", Target(0.5, -0.85, 0.75, 0.5, shape=1.1)),
    **dict.fromkeys("ʊʉɵ", Target(0.3, -0.7, 0.75, 0.25, shape=0.9)),
    **dict.fromkeys("yʏɥ", Target(0.24, -0.9, 0.95, 0.2, 0.4, shape=1.1)),
    **dict.fromkeys("øœ", Target(0.42, -0.65, 0.65, 0.4)),
    **dict.fromkeys("ɜɝ", Target(0.45, -0.2, 0.25, 0.42, shape=0.7)),
    **dict.fromkeys("ɚ", Target(0.34, -0.25, 0.3, 0.3, lips=0.7, shape=0.5)),
}


@dataclass(frozen=True)
class _Gesture:
    """Target with its time; stress is a factor of its aperture and jaw."""

    target: Target
    start_s: float
    end_s: float
    stress: float


def _gestures(phones: Sequence[Phone], ready_s: float) -> list[_Gesture]:
    """Split phonemes into single gestures.

    The parts of a diphthong or an affricate share its time. At the end of a pause before speech the lips part.
    """
    found: list[_Gesture] = []
    for phone, following in zip(phones, [*phones[1:], None], strict=False):
        letters = [letter for letter in unicodedata.normalize("NFD", phone.symbol) if letter in _TARGETS]
        stress = 1.12 if "ˈ" in phone.symbol else 1.0
        if not letters and phone.symbol:  # a separate mark, such as palatalisation: the neighbours continue
            continue
        if not letters:
            length_s = phone.end_s - phone.start_s
            speaks = following is not None and bool(following.symbol)
            ready_at_s = phone.end_s - (min(ready_s, 0.7 * length_s) if speaks and length_s > _LONG_PAUSE_S else 0.0)
            found.append(_Gesture(_REST, phone.start_s, ready_at_s, 1.0))
            if ready_at_s < phone.end_s:
                found.append(_Gesture(_READY, ready_at_s, phone.end_s, 1.0))
            continue
        edges = np.linspace(phone.start_s, phone.end_s, len(letters) + 1)
        for letter, start_s, end_s in zip(letters, edges[:-1], edges[1:], strict=True):
            found.append(_Gesture(_TARGETS[letter], float(start_s), float(end_s), stress))
    return found


def _strength(times: F64, start_s: float, end_s: float, before_s: float, after_s: float) -> F64:
    """Return the strength of a gesture at each time: 1 in its core, with an exponential fade on both sides."""
    core = 0.3 * (end_s - start_s)
    early = np.maximum(0.0, start_s + core - times) / before_s
    late = np.maximum(0.0, times - (end_s - core)) / after_s
    return np.asarray(np.exp(-early - late))


def _contact(times: F64, start_s: float, end_s: float, rise_s: float = 0.055) -> F64:
    """Return the contact at each time, 0..1: full for at least 70 ms around the interval, with smooth ramps."""
    lacking = max(0.0, 0.07 - (end_s - start_s)) / 2
    start_s, end_s = start_s - lacking, end_s + lacking
    outside = np.maximum(np.maximum(start_s - times, times - end_s), 0.0) / rise_s
    ramp = np.clip(1.0 - outside, 0.0, 1.0)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def _limit_speed(curve: F64, most: float) -> F64:
    """Return a curve whose change from step to step is limited to +-`most`, the same forwards and backwards in time."""
    low = high = curve
    for reverse in (False, True):
        for pick, sign in ((np.minimum, 1.0), (np.maximum, -1.0)):
            source = (low if sign > 0 else high)[:: -1 if reverse else 1].copy()
            for index in range(1, len(source)):
                source[index] = pick(source[index], source[index - 1] + sign * most)
            if sign > 0:
                low = source[:: -1 if reverse else 1]
            else:
                high = source[:: -1 if reverse else 1]
    return (low + high) / 2


def articulate(phones: Sequence[Phone], frames: int, style: Style | None = None) -> F32:
    """Return the articulation of phonemes, (frames, len(Channel)) float32, with row i at the time i / FPS.

    Without phonemes, or with pauses alone, the mouth rests: all zeros.
    """
    style = style or Style()
    count = int(np.ceil(frames / FPS / _STEP_S)) + 1
    times = np.arange(count) * _STEP_S + style.lead_s
    gestures = _gestures(phones, style.ready_s)
    curves = _mix(gestures, times, style)
    contacts = {Channel.PRESS: np.zeros(count), Channel.TUCK: np.zeros(count)}
    sound_times = times - style.lead_s  # contacts are not ahead of the sound: they make it
    for gesture in gestures:
        held_s = gesture.end_s - 0.25 * (gesture.end_s - gesture.start_s)
        if gesture.target.closed or gesture.target.tucked:
            channel = Channel.PRESS if gesture.target.closed else Channel.TUCK
            contacts[channel] = np.maximum(contacts[channel], _contact(sound_times, gesture.start_s, held_s))
    aperture = _limit_speed(curves[:, Channel.APERTURE] * (1 - contacts[Channel.PRESS]), _MAX_SPEED * _STEP_S)
    curves[:, Channel.APERTURE] = aperture * (1 - 0.85 * contacts[Channel.TUCK]) * (1 - contacts[Channel.PRESS])
    curves[:, Channel.JAW] *= 1 - 0.6 * np.maximum(contacts[Channel.PRESS], contacts[Channel.TUCK])
    curves[:, Channel.PRESS], curves[:, Channel.TUCK] = contacts[Channel.PRESS], contacts[Channel.TUCK]
    at = np.arange(frames) / FPS
    grid = np.arange(count) * _STEP_S
    return np.stack([np.interp(at, grid, curves[:, channel]) for channel in Channel], axis=1).astype(np.float32)


def _mix(gestures: Sequence[_Gesture], times: F64, style: Style) -> F64:
    """Mix all gestures into smooth curves, (len(times), len(Channel)); contacts stay 0."""
    count = len(times)
    lips_sum, shape_sum = np.full(count, 1e-4), np.full(count, 1e-4)
    curves = np.zeros((count, len(Channel)))
    for gesture in gestures:
        target, length_s = gesture.target, gesture.end_s - gesture.start_s
        lips, shape = target.lips, target.shape
        if target == _REST:  # the mouth does not close in a short gap between words
            lips, shape = (lips * min(1.0, (length_s / 0.2) ** 2), shape * min(1.0, (length_s / 0.2) ** 2))
        near = lips * _strength(times, gesture.start_s, gesture.end_s, 0.05, 0.05)
        wide = shape * _strength(times, gesture.start_s, gesture.end_s, 0.07, 0.075)
        lips_sum += near
        shape_sum += wide
        curves[:, Channel.APERTURE] += near * target.aperture * gesture.stress
        curves[:, Channel.JAW] += near * target.jaw * gesture.stress
        curves[:, Channel.TONGUE] += near * target.tongue
        curves[:, Channel.WIDTH] += wide * target.width
        curves[:, Channel.PROTRUSION] += wide * target.protrusion
    curves[:, [Channel.APERTURE, Channel.JAW, Channel.TONGUE]] /= lips_sum[:, None]
    curves[:, [Channel.WIDTH, Channel.PROTRUSION]] /= shape_sum[:, None]
    curves = gaussian_filter1d(curves, _SMOOTHING_S / _STEP_S, axis=0, mode="nearest")
    curves[:, Channel.APERTURE] *= style.opening
    curves[:, Channel.JAW] *= style.jaw * style.opening
    curves[:, [Channel.WIDTH, Channel.PROTRUSION]] *= style.shaping
    return np.asarray(curves)


def add_smile(rows: F32, smile: float) -> F32:
    """Return an articulation (frames, len(Channel)) with a smile of 0..1.

    The mouth gets wider, and the lips part at rest, but contacts stay. Use it only for what is shown: the labels of
    speech are without the smile, because the smile does not depend on what is said.
    """
    if smile == 0.0:
        return rows
    shown = rows.copy()
    contact = np.maximum(rows[:, Channel.PRESS], rows[:, Channel.TUCK])
    shown[:, Channel.WIDTH] += 0.9 * smile * (1 - 0.4 * rows[:, Channel.PROTRUSION])
    shown[:, Channel.APERTURE] += 0.28 * smile * (1 - contact) * np.exp(-rows[:, Channel.APERTURE] / 0.4)
    return shown
