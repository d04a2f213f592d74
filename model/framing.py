"""Framing: which square of a face a network sees.

The unit is the template face unit: 1 is the distance from the midpoint between the eyes to the chin of the mean
face with its mouth closed. The template is rigid (eyes, brows, nose), so a moving jaw does not move the crop. In the
mean face the tip of the nose lies 0.31 below the eyes, the base of the nose 0.42, the line of the lips about 0.62.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Framing:
    """Place a square crop on the template face.

    side: edge of the square; center_y: how far its centre lies below the midpoint between the eyes. Both in template
    face units; horizontally the square is centred on the midline. hidden_from: the row, as a share of the height, from
    which on the network does not see the target. Raises ValueError for a side that is not positive or a row outside.
    """

    side: float
    center_y: float
    hidden_from: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.hidden_from < 1:
            raise ValueError(f"the hidden rows must start inside the crop, not at {self.hidden_from}")
        if not (math.isfinite(self.side) and math.isfinite(self.center_y) and self.side > 0):
            raise ValueError(f"a framing needs a positive side and a finite centre, not {self.side}, {self.center_y}")

    @property
    def top(self) -> float:
        """Return the template y of the upper edge."""
        return self.center_y - self.side / 2

    @property
    def left(self) -> float:
        """Return the template x of the left edge; 0 is the midline."""
        return -self.side / 2

    def row(self, template_y: float) -> float:
        """Return where a template y lies in the crop, as a share of its height (0 top, 1 bottom)."""
        return (template_y - self.top) / self.side


# As near to the mouth as the jaw allows. The hidden part starts at the base of the nose (row 0.42), a closed chin lies
# at row 0.84, and a jaw opened by 0.2 of a unit ends inside the crop (row 0.98).
LOWER_FACE = Framing(side=1.40, center_y=0.53, hidden_from=5 / 12)

# Published Wav2Lip weights know detector boxes from forehead to chin with a tenth of padding below.
FOREHEAD_TO_CHIN = Framing(side=1.48, center_y=0.34)
