"""The clock of a sound: where each decoded frame lies, from the samples counted so far and from its timestamp.

Samples are counted; a timestamp only corrects the count. Timestamps that leave a hole give silence. Timestamps that
start again, as in files that were joined, do not: the samples follow each other. Timestamps that run slower than the
samples drop a frame now and then, so that a long film stays in step with its picture.

A demuxer guesses the timestamps between two stored ones from the rate it saw first. So they mean less, or nothing,
after a change of the rate.
"""

from __future__ import annotations

from typing import Final

TOLERANCE_S: Final = 0.1  # smaller differences are jitter
TOLERANCE_AFTER_CHANGE_S: Final = 1.0
REMEMBERED: Final = 8  # clocks to which a stray timestamp may return


class SoundClock:
    """Clock of one sound from its first sample on.

    longest_hole_s: a longer hole is a clock that starts again. stamps_survive_change: whether timestamps are stored in
    the file, and so mean something after a change of the rate.
    """

    def __init__(self, longest_hole_s: float, stamps_survive_change: bool) -> None:
        self.now_s, self.restarts = 0.0, 0
        self._longest_hole_s, self._stamps_survive_change = longest_hole_s, stamps_survive_change
        self._offsets_s: list[float] = []  # of clocks; the last one is in use
        self._last_end_s, self._tolerance_s = 0.0, TOLERANCE_S

    def note_change(self) -> None:
        """Note that the rate or the channels change with the next frame."""
        self._tolerance_s = TOLERANCE_AFTER_CHANGE_S if self._stamps_survive_change else float("inf")

    def start_again(self) -> None:
        """Note that the next frame belongs to another stream, which follows without a gap."""
        self._offsets_s.clear()
        self._tolerance_s = TOLERANCE_S

    def place(self, stamp_s: float | None, length_s: float) -> float | None:
        """Return the seconds of silence before the next frame, None if the frame is to be dropped."""
        silence_s = 0.0 if stamp_s is None else self._correction_s(stamp_s)
        if stamp_s is not None:
            self._last_end_s = stamp_s + length_s
        if silence_s < 0:
            return None
        self.now_s += silence_s + length_s
        return silence_s

    def _correction_s(self, stamp_s: float) -> float:
        """Return how far a frame with this timestamp lies behind the counted samples, negative before them."""
        if not self._offsets_s:
            self._offsets_s = [self.now_s - stamp_s]
            return 0.0
        ahead_s = stamp_s + self._offsets_s[-1] - self.now_s
        if abs(ahead_s) <= self._tolerance_s:
            return 0.0
        for offset_s in self._offsets_s[-2::-1]:
            if abs(stamp_s + offset_s - self.now_s) <= self._tolerance_s:
                self._offsets_s.append(offset_s)
                return 0.0
        is_drift = abs(stamp_s - self._last_end_s) <= TOLERANCE_S
        if (is_drift and abs(ahead_s) < 2 * self._tolerance_s) or 0 < ahead_s <= self._longest_hole_s:
            return ahead_s
        self._offsets_s = [*self._offsets_s[1 - REMEMBERED :], self.now_s - stamp_s]
        self.restarts += 1
        return 0.0
