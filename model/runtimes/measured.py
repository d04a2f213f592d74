"""What a measurement of the runtimes says, and which of them it lets one choose. Loads neither torch nor OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

from model.runtimes.port import Precision, RuntimeName, RuntimeUnavailableError

LEAST_PSNR_DB: Final = 45.0  # of the drawn part of a crop, against torch in fp32
CLEARLY_FASTER: Final = 1.1  # a less exact runtime must gain at least this factor
# The more exact one first.
ORDER: Final[tuple[tuple[RuntimeName, Precision], ...]] = (
    ("torch", "fp32"),
    ("openvino", "fp32"),
    ("torch", "bf16"),
    ("openvino", "bf16"),
)


class Measured(BaseModel):
    """One runtime in one precision: speed, closeness to torch in fp32, or the error that it ended with.

    psnr_db: None for torch in fp32 itself, and for a runtime that draws exactly the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    runtime: RuntimeName
    precision: Precision
    crops_per_s: float = 0.0
    psnr_db: float | None = None
    error: str = ""

    @property
    def flaw(self) -> str:
        """Return why it cannot be chosen; "" if it can."""
        if self.error:
            return self.error
        if self.psnr_db is not None and self.psnr_db < LEAST_PSNR_DB:
            return f"it draws otherwise than torch in fp32 (PSNR {self.psnr_db:.1f} dB, under {LEAST_PSNR_DB:.0f} dB)"
        return ""

    def __str__(self) -> str:
        said = self.flaw or f"{self.crops_per_s:.0f} crops/s"
        return f"{self.runtime} {self.precision}: {said}"


def choose(measured: Sequence[Measured], runtime: str, precision: str) -> Measured:
    """Return the fastest runtime that draws closely enough.

    runtime: torch, openvino or auto. precision: fp32, bf16 or auto. A less exact one must be clearly faster than a more
    exact one. Raises RuntimeUnavailableError if no measured runtime fits, with the reasons.
    """
    fitting = [one for one in measured if runtime in ("auto", one.runtime) and precision in ("auto", one.precision)]
    usable = {(one.runtime, one.precision): one for one in fitting if not one.flaw}
    best: Measured | None = None
    for kind in ORDER:
        one = usable.get(kind)
        if one is not None and (best is None or one.crops_per_s > CLEARLY_FASTER * best.crops_per_s):
            best = one
    if best is None:
        reasons = "; ".join(str(one) for one in fitting) or "this processor does not multiply in this precision"
        raise RuntimeUnavailableError(f"runtime {runtime} in precision {precision} cannot be used: {reasons}")
    return best
