"""Judge drawn lips: every clip with its own voice, in silence and with a stranger's voice, beside the real video.

A generator can score well by copying the picture or by opening with loudness, so the rows that would show it are
always there: in silence lips must rest, and with another voice they must follow that voice and not the film.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from model.arrays import F64, I16, U8, Floats
from model.evaluation import metrics
from model.evaluation.cases import Case, Footage
from model.evaluation.learned_metrics import Judges

REAL, OWN, SILENT, SHUFFLED = "real video", "own audio", "silent audio", "shuffled audio"
ROWS: Final = (REAL, OWN, SILENT, SHUFFLED)
STILLS = 8
_APERTURE, _WIDTH = 0, 1


@dataclass
class Take:
    """What one clip showed in one row.

    groups: kind -> value, such as sex -> man. values: measures by name. filmed, drawn (T, 2): aperture and width of the
    mouth as they are read. lags: curves of r over lags, by measure. stills: a few frames, filmed above drawn. features:
    of the drawn frames, for FID.
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


def evaluate(cases: Sequence[Case], judges: Judges, tell: Callable[[str], None] = lambda _: None) -> list[Take]:
    """Measure all cases in all rows; `tell` hears the name of each case when its turn comes."""
    takes: list[list[Take]] = []
    strangers = [_stranger(cases, number) for number in range(len(cases))]
    for case, stranger in zip(cases, strangers, strict=True):
        tell(case.name)
        takes.append(list(_Clip(case, judges).takes(None if stranger is None else cases[stranger].voice)))
    for mine, stranger in zip(takes, strangers, strict=True):
        if mine[-1].row == SHUFFLED and stranger is not None:
            _compare_with_owner(mine[-1], takes[stranger][0])
    return [take for mine in takes for take in mine]


def _stranger(cases: Sequence[Case], number: int) -> int | None:
    """Return the number of the next case with another speaker, else with another sentence of the same, else None."""
    following = [*range(number + 1, len(cases)), *range(number)]
    heard = [other for other in following if cases[other].speaker and np.any(cases[other].voice)]
    strangers = [other for other in heard if cases[other].speaker != cases[number].speaker]
    return next(iter(strangers or heard), None)


def _compare_with_owner(take: Take, owners: Take) -> None:
    """Compare lips drawn with another's voice, and the film they replace, with the lips of that voice's owner."""
    owner = metrics.resampled(owners.filmed[:, _APERTURE], owners.fps, take.fps)
    length = min(len(owner), len(take.drawn))
    if metrics.moves(owner):
        for name, curve in (("owner_aperture_r", take.drawn), ("chance_aperture_r", take.filmed)):
            take.values[name] = metrics.correlation(curve[:length, _APERTURE], owner[:length])


class _Clip:
    """Measure one case in all rows."""

    def __init__(self, case: Case, judges: Judges) -> None:
        self._case, self._judges = case, judges
        self._film = case.film()
        self._groups = {"skin tone": metrics.skin_tone(self._film.crops, case.framing)}
        if case.sex is not None:
            self._groups["sex"] = case.sex

    def takes(self, strangers_voice: I16 | None) -> Iterable[Take]:
        """Return the rows that can be had, the real one first and the one with another's voice last."""
        own_voice = self._case.voice
        film = self._film
        yield self._take(REAL, film, own_voice)
        spoken = self._case.speak(film, own_voice)
        if spoken is None:
            return
        yield self._take(OWN, spoken, own_voice)
        silence = np.zeros_like(own_voice)
        silent = self._case.speak(film, silence)
        if silent is not None:
            take = self._take(SILENT, silent, silence)
            curves = [one.reading.mouth[:, _APERTURE] for one in (silent, spoken, film)]
            if metrics.moves(curves[2]):
                take.values["silent_aperture_ratio"] = metrics.silent_ratio(*curves)
            yield take
        shuffled = None if strangers_voice is None else self._case.speak(film, strangers_voice)
        if shuffled is not None and strangers_voice is not None:
            yield self._take(SHUFFLED, shuffled, strangers_voice)

    def _take(self, row: str, drawn: Footage, voice: I16) -> Take:
        length = min(len(drawn.crops), len(self._film.crops))
        voice = voice if drawn.voice is None else drawn.voice
        film = _cut(self._film, length)
        drawn = _cut(drawn, length)
        values, lags = self._lips(film, drawn, voice)
        values |= self._picture(film, drawn)
        if self._judges.sync is not None and np.any(voice):
            values["lse_d"], values["lse_c"] = self._judges.sync(drawn, voice, self._case.fps)
        features = self._judges.features(drawn.crops) if self._judges.features else None
        mouths = film.reading.mouth, drawn.reading.mouth
        case, stills = self._case, _stills(film, drawn)
        return Take(case.name, row, case.fps, self._groups, values, *mouths, lags, stills, features)

    def _lips(self, film: Footage, drawn: Footage, voice: I16) -> tuple[dict[str, float], dict[str, F64]]:
        """Compare the lips with the filmed ones and with the voice, as far as either moves."""
        seen, filmed, fps = drawn.reading, film.reading, self._case.fps
        values = {
            "faces_found": float(np.isfinite(seen.mouth[:, _APERTURE]).mean()),
            "lmd": metrics.lip_distance(seen.lips, filmed.lips),
            "jitter_ratio": _ratio(metrics.jitter(seen.lips), metrics.jitter(filmed.lips)),
        }
        lags: dict[str, F64] = {}
        aperture = seen.mouth[:, _APERTURE]
        if np.any(voice):
            level = metrics.loudness_db(voice, len(aperture), fps)
            values["voice_r"] = metrics.correlation(aperture, level)
            lags["voice_r"] = metrics.lag_curve(aperture, level)
        if not metrics.moves(filmed.mouth[:, _APERTURE]):
            return values, lags
        values["opening_ratio"] = _ratio(*(np.ptp(metrics.speaking_range(m[:, 0])) for m in (seen.mouth, filmed.mouth)))
        for name, column in (("aperture_r", _APERTURE), ("width_r", _WIDTH)):
            values[name] = metrics.correlation(seen.mouth[:, column], filmed.mouth[:, column])
            labels = self._case.labels
            if labels is not None:
                values[f"label_{name}"] = metrics.correlation(seen.mouth[:, column], labels[: len(aperture), column])
        lags["aperture_r"] = metrics.lag_curve(aperture, filmed.mouth[:, _APERTURE])
        shown = [phone for phone in self._case.phones if phone.symbol and phone.end_s * fps < len(aperture)]
        for name, wanted in (("bilabials_closed", _bilabial), ("others_closed", _open)):
            moments = [(phone.start_s, phone.end_s) for phone in shown if wanted(phone.symbol)]
            values[name] = metrics.closed_share(aperture, moments, fps)
        return values, lags

    def _picture(self, film: Footage, drawn: Footage) -> dict[str, float]:
        framing = self._case.framing
        mouths = [metrics.mouth_region(one.crops, framing) for one in (drawn, film)]
        ratios = {
            "sharpness_ratio": metrics.sharpness,
            "detail_ratio": metrics.detail,
            "flicker_ratio": metrics.flicker,
        }
        values = {name: _ratio(*(measure(mouth) for mouth in mouths)) for name, measure in ratios.items()}
        values["psnr"] = metrics.psnr_db(drawn.crops, film.crops)
        values["ssim"] = metrics.ssim(drawn.crops, film.crops)
        if self._judges.lpips is not None:
            values["lpips"] = self._judges.lpips(drawn.crops, film.crops)
        return values


def _cut(footage: Footage, length: int) -> Footage:
    reading = footage.reading
    return replace(
        footage,
        crops=footage.crops[:length],
        reading=replace(reading, mouth=reading.mouth[:length], lips=reading.lips[:length]),
        wide=None if footage.wide is None else footage.wide[:length],
    )


def _stills(film: Footage, drawn: Footage) -> U8:
    """Return a sheet: a few filmed frames, the same drawn below."""
    chosen = np.linspace(0, len(film.crops) - 1, STILLS).round().astype(int)
    sheet: U8 = np.concatenate([np.concatenate(list(one.crops[chosen]), axis=1) for one in (film, drawn)])
    return sheet


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0 else float("nan")


def _bilabial(symbol: str) -> bool:
    return symbol[:1] in tuple("pbm")


def _open(symbol: str) -> bool:
    """Say whether a sound leaves the lips open: all but those that lips make."""
    return symbol[:1] not in tuple("pbmfvw")
