"""Where a Python child of ours finds our packages: never in the folder in which somebody started us.

`python -m` puts the working folder first, so a file such as `queue.py` there would run inside the service.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]  # the folder of our packages


def with_own_modules(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python takes our packages from ROOT and none from the working folder."""
    others = environment.get("PYTHONPATH")
    path = str(ROOT) if not others else f"{ROOT}{os.pathsep}{others}"
    return {**environment, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
