"""Framing: the square of a face that a network gets as its crop.

Lengths are in template face units: 1 is the distance from the midpoint between the eyes to the chin of the mean face
with its mouth closed. The template is rigid (eyes, brows, nose), so a moving jaw does not move the crop. In the mean
face the tip of the nose lies 0.31 below the eyes, the base of the nose 0.42, and the line of the lips about 0.62.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Framing:
    """Place of a square crop on the template face.

    side: edge of the square; center_y: distance of its centre below the midpoint between the eyes. Both are in template
    face units; horizontally the square is centred on the midline. hidden_from: the first hidden row, as a share of the
    height; from this row down the target is hidden from the network. Raises ValueError for a side that is not positive,
    a centre that is not finite, or a hidden row outside the crop.
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
        """Return the place of a template y in the crop, as a share of its height (0 top, 1 bottom)."""
        return (template_y - self.top) / self.side


# The smallest crop that holds an open jaw. The hidden rows start at the base of the nose (row 0.42), the chin of a
# closed mouth lies at row 0.84, and a jaw opened by 0.2 of a unit ends inside the crop (row 0.98).
LOWER_FACE = Framing(side=1.40, center_y=0.53, hidden_from=5 / 12)

# Published Wav2Lip weights were trained on detector boxes from forehead to chin, with a tenth of padding below.
FOREHEAD_TO_CHIN = Framing(side=1.48, center_y=0.34)
