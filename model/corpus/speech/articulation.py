"""From sounds to the movement of a mouth: one row of articulatory parameters for every video frame.

Each sound asks for a place of lips, jaw and tongue, each with a strength. A sound's pull is full inside it and fades
outside (dominance functions, after Löfqvist, and Cohen and Massaro), so neighbours mix: rounding starts early, a weak
consonant takes the shape of its vowels. What must happen happens: lips meet for p b m and the lower lip meets the teeth
for f v, whatever the neighbours ask. Then come the limits of flesh: smoothing and a greatest speed. Before somebody
speaks, lips part: the mouth is seen to open 100 to 300 ms ahead of the voice (Chandrasekaran et al. 2009,
https://doi.org/10.1371/journal.pcbi.1000436).
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
_LEAD_S = 0.005
_SMOOTHING_S = 0.018
_LONG_PAUSE_S = 0.15  # lips part anew before speech after a pause longer than this
_MAX_SPEED = 14.0  # full strokes of the aperture a second


@dataclass(frozen=True)
class Target:
    """Say where a sound wants the mouth; `lips` weighs its aperture and jaw, `shape` its width and protrusion."""

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
    """Describe how a speaker moves: size of opening, of width changes, of the jaw's share, and the lead of the lips.

    ready_s: how long before speech the lips part; smile: 0 none .. 1 wide with parted lips, a resting face of its own.
    """

    opening: float = 1.0
    shaping: float = 1.0
    jaw: float = 1.0
    lead_s: float = _LEAD_S
    ready_s: float = 0.25
    smile: float = 0.0

    @staticmethod
    def random(rng: np.random.Generator) -> Style:
        """Draw a speaker."""
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
    target: Target
    start_s: float
    end_s: float
    stress: float


def _gestures(phones: Sequence[Phone], ready_s: float) -> list[_Gesture]:
    """Split phones into single gestures: the halves of a diphthong share its time, affricates likewise.

    The end of a pause before speech gets the lips ready.
    """
    found: list[_Gesture] = []
    for phone, following in zip(phones, [*phones[1:], None], strict=False):
        letters = [letter for letter in unicodedata.normalize("NFD", phone.symbol) if letter in _TARGETS]
        stress = 1.12 if "ˈ" in phone.symbol else 1.0
        if not letters and phone.symbol:  # a mark of its own, such as palatalisation: its neighbours hold
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


def _pull(times: F64, start_s: float, end_s: float, before_s: float, after_s: float) -> F64:
    """Return the strength of a gesture over time: 1 in its core, fading exponentially on both sides."""
    core = 0.3 * (end_s - start_s)
    early = np.maximum(0.0, start_s + core - times) / before_s
    late = np.maximum(0.0, times - (end_s - core)) / after_s
    return np.asarray(np.exp(-early - late))


def _contact(times: F64, start_s: float, end_s: float, rise_s: float = 0.055) -> F64:
    """Return 0..1: full contact at least 70 ms long around the interval, with smooth ramps on both sides."""
    lacking = max(0.0, 0.07 - (end_s - start_s)) / 2
    start_s, end_s = start_s - lacking, end_s + lacking
    outside = np.maximum(np.maximum(start_s - times, times - end_s), 0.0) / rise_s
    ramp = np.clip(1.0 - outside, 0.0, 1.0)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def _limit_speed(curve: F64, most: float) -> F64:
    """Return the curve with every change a step held to +-`most`, the same forwards and backwards in time."""
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
    """Move a mouth through `phones`, sampled at i / FPS for each of `frames`.

    Returns (frames, len(Channel)) float32. No phones, or pauses alone, give rest: zeros.
    """
    style = style or Style()
    count = int(np.ceil(frames / FPS / _STEP_S)) + 1
    times = np.arange(count) * _STEP_S + style.lead_s
    gestures = _gestures(phones, style.ready_s)
    curves = _mix(gestures, times, style)
    contacts = {Channel.PRESS: np.zeros(count), Channel.TUCK: np.zeros(count)}
    heard = times - style.lead_s  # contacts are heard as they are made: they do not lead
    for gesture in gestures:
        held_s = gesture.end_s - 0.25 * (gesture.end_s - gesture.start_s)
        if gesture.target.closed:
            contacts[Channel.PRESS] = np.maximum(contacts[Channel.PRESS], _contact(heard, gesture.start_s, held_s))
        elif gesture.target.tucked:
            contacts[Channel.TUCK] = np.maximum(contacts[Channel.TUCK], _contact(heard, gesture.start_s, held_s))
    aperture = _limit_speed(curves[:, Channel.APERTURE] * (1 - contacts[Channel.PRESS]), _MAX_SPEED * _STEP_S)
    curves[:, Channel.APERTURE] = aperture * (1 - 0.85 * contacts[Channel.TUCK]) * (1 - contacts[Channel.PRESS])
    curves[:, Channel.JAW] *= 1 - 0.6 * np.maximum(contacts[Channel.PRESS], contacts[Channel.TUCK])
    curves[:, Channel.PRESS], curves[:, Channel.TUCK] = contacts[Channel.PRESS], contacts[Channel.TUCK]
    at = np.arange(frames) / FPS
    grid = np.arange(count) * _STEP_S
    return np.stack([np.interp(at, grid, curves[:, channel]) for channel in Channel], axis=1).astype(np.float32)


def _mix(gestures: Sequence[_Gesture], times: F64, style: Style) -> F64:
    """Blend all gestures into smooth curves, (len(times), len(Channel)); contacts are left at 0."""
    count = len(times)
    lips_sum, shape_sum = np.full(count, 1e-4), np.full(count, 1e-4)
    curves = np.zeros((count, len(Channel)))
    for gesture in gestures:
        target, length_s = gesture.target, gesture.end_s - gesture.start_s
        lips, shape = target.lips, target.shape
        if target is _REST:  # the mouth does not close in a short gap between words
            lips, shape = (lips * min(1.0, (length_s / 0.2) ** 2), shape * min(1.0, (length_s / 0.2) ** 2))
        near = lips * _pull(times, gesture.start_s, gesture.end_s, 0.05, 0.05)
        wide = shape * _pull(times, gesture.start_s, gesture.end_s, 0.07, 0.075)
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


def smiling(rows: F32, smile: float) -> F32:
    """Return an articulation (frames, len(Channel)) as a smiling face makes it: wider, parted at rest, still closing.

    The smile belongs to the face, not to what it says: rows that label speech are without it.
    """
    if smile == 0.0:
        return rows
    shown = rows.copy()
    contact = np.maximum(rows[:, Channel.PRESS], rows[:, Channel.TUCK])
    shown[:, Channel.WIDTH] += 0.9 * smile * (1 - 0.4 * rows[:, Channel.PROTRUSION])
    shown[:, Channel.APERTURE] += 0.28 * smile * (1 - contact) * np.exp(-rows[:, Channel.APERTURE] / 0.4)
    return shown
