"""The articulation: the posture of lips, jaw and tongue in one frame, as a row of seven numbers.

The corpus makes such rows from speech, the hearing network predicts them from sound, and training compares the two.
"""

from __future__ import annotations

from enum import IntEnum

FULL_APERTURE = 0.125  # gap between the lips, in template face units, for an aperture of 1
FULL_WIDTH = 0.2  # by which a mouth widens, as a share of its width, for a width of 1


class Channel(IntEnum):
    """Columns of an articulation; all are 0..1 except WIDTH, which goes from -1 (rounded) to 1 (spread)."""

    APERTURE = 0
    WIDTH = 1
    PROTRUSION = 2
    JAW = 3
    TONGUE = 4
    PRESS = 5
    TUCK = 6


CHANNELS = len(Channel)
OPENING = (Channel.APERTURE, Channel.JAW)  # channels that one person moves farther than another: up and down
SPREADING = (Channel.WIDTH, Channel.PROTRUSION)  # and sideways
