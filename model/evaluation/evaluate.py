"""Measure drawn lips: each clip with its own voice, in silence and with another speaker's voice, beside the real video.

A generator can score well by copying the picture, or by opening the mouth whenever the voice is loud. Two rows show
this: in silence the lips must rest, and with another voice they must follow that voice and not the film.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Final

import numpy as np

from model.arrays import F64, I16, U8, Floats
from model.evaluation import metrics
from model.evaluation.cases import Case, FaceCrops
from model.evaluation.heard import FilmedTalk, baseline, compare_with_heard
from model.evaluation.learned_metrics import LearnedMetrics
from model.evaluation.lip_voice import match_reading

REAL, OWN, SILENT, SHUFFLED = "real video", "own audio", "silent audio", "shuffled audio"
ROWS: Final = (REAL, OWN, SILENT, SHUFFLED)
STILLS = 8
_APERTURE, _WIDTH = 0, 1
# What is known of a video without its film.
_ALONE: Final = ("faces_found", "voice_r", "lip_voice", "chance_lip_voice", "lse_d", "lse_c")


@dataclass
class Measurement:
    """One clip drawn in one way (row), with what was measured.

    groups: value by kind of group, such as sex -> man. values: measures by name. filmed, drawn: (T, 2) aperture and
    width of the mouth, as read from the crops. lags: curve of r over lags by measure. stills: a sheet of STILLS frames,
    filmed above drawn, uint8 RGB. features: of the drawn crops, for the Frechet distance.
    """

    clip: str
    row: str
    fps: float
    groups: dict[str, str]
    values: dict[str, float]
    filmed: Floats
    drawn: Floats
    lags: dict[str, F64]
    stills: U8
    features: F64 | None = field(default=None, repr=False)


def evaluate(
    cases: Sequence[Case], learned: LearnedMetrics, log: Callable[[str], None] = lambda _: None
) -> list[Measurement]:
    """Measure all cases in all rows; `log` receives the name of each case before it is measured."""
    measured: list[list[Measurement]] = []
    others = [_other_speaker(cases, number) for number in range(len(cases))]
    for case, other in zip(cases, others, strict=True):
        log(case.name)
        voice = None if other is None else cases[other].voice
        measured.append(list(_ClipMeasurer(case, learned).rows(voice)))
    _add_baseline(cases, measured)
    for mine, other in zip(measured, others, strict=True):
        if mine[-1].row == SHUFFLED and other is not None:
            _compare_with_owner(mine[-1], measured[other][0])
    return [measurement for mine in measured for measurement in mine]


def without_film(measurement: Measurement) -> Measurement:
    """Return what is known of a video without its film: all comparisons with the film are left out."""
    values = {name: value for name, value in measurement.values.items() if name in _ALONE}
    lags = {name: curve for name, curve in measurement.lags.items() if name in _ALONE}
    return replace(measurement, values=values, lags=lags, features=None)


def _add_baseline(cases: Sequence[Case], measured: Sequence[Sequence[Measurement]]) -> None:
    """Add to the values of each row with its own voice what a linear regression hears of the filmed lips."""
    spoken = {at: one for at, mine in enumerate(measured) for one in mine if one.row == OWN and cases[at].speaker}
    known = {at: one for at, one in spoken.items() if metrics.moves(one.filmed[:, _APERTURE])}
    talks = [FilmedTalk(cases[at].speaker, one.filmed, one.fps, cases[at].voice) for at, one in known.items()]
    for one, values in zip(known.values(), baseline(talks), strict=True):
        one.values.update(values)


def _other_speaker(cases: Sequence[Case], number: int) -> int | None:
    """Return the number of the case whose voice is used in the row with another voice.

    It is the next case with another speaker, else the next with another sentence of the same speaker, else None.
    """
    following = [*range(number + 1, len(cases)), *range(number)]
    audible = [other for other in following if cases[other].speaker and np.any(cases[other].voice)]
    others = [other for other in audible if cases[other].speaker != cases[number].speaker]
    return next(iter(others or audible), None)


def _compare_with_owner(shuffled: Measurement, owner: Measurement) -> None:
    """Compare a row with another voice to the lips of that voice's owner, and add the two correlations to its values.

    owner_aperture_r is that of the drawn lips. chance_aperture_r is that of the filmed lips, which say something else:
    what two sentences have in common by chance.
    """
    lips = metrics.resampled(owner.filmed[:, _APERTURE], owner.fps, shuffled.fps)
    length = min(len(lips), len(shuffled.drawn))
    if metrics.moves(lips):
        for name, curve in (("owner_aperture_r", shuffled.drawn), ("chance_aperture_r", shuffled.filmed)):
            shuffled.values[name] = metrics.correlation(curve[:length, _APERTURE], lips[:length])


class _ClipMeasurer:
    """Measurements of one case in all rows."""

    def __init__(self, case: Case, learned: LearnedMetrics) -> None:
        self._case, self._learned = case, learned
        self._filmed = case.filmed()
        self._groups = {"skin tone": metrics.skin_tone(self._filmed.crops, case.framing)}
        if case.speaker:
            self._groups["speaker"] = PurePath(case.speaker).stem
        if case.sex is not None:
            self._groups["sex"] = case.sex

    def rows(self, other_voice: I16 | None) -> Iterator[Measurement]:
        """Yield each row that is available: the real video first, and the one with another voice last."""
        own_voice, filmed = self._case.voice, self._filmed
        yield self._with_chance(self._measure(REAL, filmed, own_voice), filmed, other_voice)
        spoken = self._case.redraw(filmed, own_voice)
        if spoken is None:
            return
        yield self._with_chance(self._measure(OWN, spoken, own_voice), spoken, other_voice)
        if self._case.is_finished:
            return
        silence = np.zeros_like(own_voice)
        silent = self._case.redraw(filmed, silence)
        if silent is not None:
            measurement = self._measure(SILENT, silent, silence)
            curves = [one.reading.mouth[:, _APERTURE] for one in (silent, spoken, filmed)]
            if metrics.moves(curves[2]):
                measurement.values["silent_aperture_ratio"] = metrics.silent_ratio(*curves)
            yield measurement
        shuffled = None if other_voice is None else self._case.redraw(filmed, other_voice)
        if shuffled is not None and other_voice is not None:
            yield self._measure(SHUFFLED, shuffled, other_voice)

    def _with_chance(self, measurement: Measurement, drawn: FaceCrops, other_voice: I16 | None) -> Measurement:
        """Add how well the lips fit another speaker's voice, which they do not say: what two voices have in common."""
        if self._learned.lip_voice is not None and other_voice is not None:
            found = match_reading(self._learned.lip_voice, drawn.reading.lips, self._case.fps, other_voice)
            measurement.values["chance_lip_voice"] = math.nan if found is None else found.match
        return measurement

    def _measure(self, row: str, drawn: FaceCrops, voice: I16) -> Measurement:
        """Measure drawn crops against the filmed ones, both cut to the shorter of the two."""
        length = min(len(drawn.crops), len(self._filmed.crops))
        voice = voice if drawn.voice is None else drawn.voice
        filmed, drawn = _cut(self._filmed, length), _cut(drawn, length)
        values, lags = self._measure_lips(filmed, drawn, voice)
        values |= self._measure_picture(filmed, drawn)
        if self._learned.lip_voice is not None and np.any(voice):
            match = match_reading(self._learned.lip_voice, drawn.reading.lips, self._case.fps, voice)
            if match is not None:
                values["lip_voice"], lags["lip_voice"] = match.match, match.curve
        if row == OWN:
            values |= self._measure_heard(filmed, drawn, voice)
        if self._learned.sync is not None and np.any(voice):
            values["lse_d"], values["lse_c"] = self._learned.sync(drawn, voice, self._case.fps)
        return Measurement(
            clip=self._case.name,
            row=row,
            fps=self._case.fps,
            groups=self._groups,
            values=values,
            filmed=filmed.reading.mouth,
            drawn=drawn.reading.mouth,
            lags=lags,
            stills=_stills(filmed, drawn),
            features=self._learned.features(drawn.crops) if self._learned.features else None,
        )

    def _measure_lips(self, filmed: FaceCrops, drawn: FaceCrops, voice: I16) -> tuple[dict[str, float], dict[str, F64]]:
        """Compare the drawn lips with the filmed lips and with the voice; return values and curves over lags by name.

        A comparison is left out if the filmed lips do not move, or if the voice is silent.
        """
        seen, reference, fps = drawn.reading, filmed.reading, self._case.fps
        values = {
            "faces_found": float(np.isfinite(seen.mouth[:, _APERTURE]).mean()),
            "lmd": metrics.lip_distance(seen.lips, reference.lips),
            "jitter_ratio": _ratio(metrics.jitter(seen.lips), metrics.jitter(reference.lips)),
        }
        lags: dict[str, F64] = {}
        aperture = seen.mouth[:, _APERTURE]
        if np.any(voice):
            level = metrics.loudness_db(voice, len(aperture), fps)
            values["voice_r"] = metrics.correlation(aperture, level)
            lags["voice_r"] = metrics.lag_curve(aperture, level)
        if not metrics.moves(reference.mouth[:, _APERTURE]):
            return values, lags
        ranges = (np.ptp(metrics.speaking_range(one.mouth[:, _APERTURE])) for one in (seen, reference))
        values["opening_ratio"] = _ratio(*ranges)
        for name, column in (("aperture_r", _APERTURE), ("width_r", _WIDTH)):
            values[name] = metrics.correlation(seen.mouth[:, column], reference.mouth[:, column])
            labels = self._case.labels
            if labels is not None:
                values[f"label_{name}"] = metrics.correlation(seen.mouth[:, column], labels[: len(aperture), column])
        lags["aperture_r"] = metrics.lag_curve(aperture, reference.mouth[:, _APERTURE])
        return values | self._closures(aperture), lags

    def _closures(self, aperture: Floats) -> dict[str, float]:
        """Return the share of closed lips at p b m, and at sounds that leave the lips open."""
        fps = self._case.fps
        shown = [phone for phone in self._case.phones if phone.symbol and phone.end_s * fps < len(aperture)]
        shares: dict[str, float] = {}
        for name, is_wanted in (("bilabials_closed", _is_bilabial), ("others_closed", _leaves_lips_open)):
            moments = [(phone.start_s, phone.end_s) for phone in shown if is_wanted(phone.symbol)]
            shares[name] = metrics.closed_share(aperture, moments, fps)
        return shares

    def _measure_heard(self, filmed: FaceCrops, drawn: FaceCrops, voice: I16) -> dict[str, float]:
        """Compare what the network hears of the voice with the lips, if it hears and if the filmed lips move."""
        seen, reference, fps = drawn.reading.mouth, filmed.reading.mouth, self._case.fps
        if self._case.hear is None or not np.any(voice) or not metrics.moves(reference[:, _APERTURE]):
            return {}
        heard = self._case.hear(voice, np.arange(len(seen)) / fps)
        return {} if heard is None else compare_with_heard(heard, reference, seen, fps)

    def _measure_picture(self, filmed: FaceCrops, drawn: FaceCrops) -> dict[str, float]:
        """Compare the pixels of drawn and filmed crops."""
        framing = self._case.framing
        mouths = [metrics.mouth_region(one.crops, framing) for one in (drawn, filmed)]
        ratios = {
            "sharpness_ratio": metrics.sharpness,
            "detail_ratio": metrics.detail,
            "flicker_ratio": metrics.flicker,
        }
        values = {name: _ratio(*(measure(mouth) for mouth in mouths)) for name, measure in ratios.items()}
        pair = [
            metrics.face_detail(one.crops, framing) if one.detail is None else one.detail for one in (drawn, filmed)
        ]
        values["mouth_sharpness"] = metrics.mouth_sharpness(*pair)
        values["psnr"] = metrics.psnr_db(drawn.crops, filmed.crops)
        values["ssim"] = metrics.ssim(drawn.crops, filmed.crops)
        if self._learned.lpips is not None:
            values["lpips"] = self._learned.lpips(drawn.crops, filmed.crops)
        return values


def _cut(face: FaceCrops, length: int) -> FaceCrops:
    """Return the first `length` frames."""
    reading = face.reading
    return replace(
        face,
        crops=face.crops[:length],
        reading=replace(reading, mouth=reading.mouth[:length], lips=reading.lips[:length]),
        wide=None if face.wide is None else face.wide[:length],
        detail=None if face.detail is None else face.detail[:length],
    )


def _stills(filmed: FaceCrops, drawn: FaceCrops) -> U8:
    """Return a sheet of a few filmed crops, with the drawn crops of the same frames below, uint8 RGB."""
    chosen = np.linspace(0, len(filmed.crops) - 1, STILLS).round().astype(int)
    sheet: U8 = np.concatenate([np.concatenate(list(one.crops[chosen]), axis=1) for one in (filmed, drawn)])
    return sheet


def _ratio(value: float, reference: float) -> float:
    """Return value / reference; not a number if the reference is 0 or unknown."""
    return value / reference if reference > 0 else float("nan")


def _is_bilabial(symbol: str) -> bool:
    """Return whether both lips meet in a sound."""
    return symbol[:1] in tuple("pbm")


def _leaves_lips_open(symbol: str) -> bool:
    """Return whether a sound leaves the lips open, that is, whether the lips do not form it."""
    return symbol[:1] not in tuple("pbmfvw")
