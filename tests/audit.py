"""Known faults of the locked packages: `python -m tests.audit`, a part of `make check`.

pip-audit asks PyPI's JSON interface for the faults of each version in constraints.txt. Many mirrors of PyPI lack that
interface, and a machine may have no network; then this check says so and passes.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import httpx

from tests.conftest import ROOT

QUESTION: Final = "https://pypi.org/pypi/jinja2/2.11.2/json"  # a version whose faults every complete index names
ANSWER_S: Final = 10.0
AUDIT_S: Final = 300.0


def names_faults(answer: object) -> bool:
    """Return whether an answer about QUESTION names faults."""
    return isinstance(answer, dict) and bool(answer.get("vulnerabilities"))


def main() -> int:
    """Audit the lock; return 1 if a package has a known fault."""
    try:
        answer = httpx.get(QUESTION, timeout=ANSWER_S, follow_redirects=True).json()
    except (httpx.HTTPError, ValueError):
        answer = None
    if not names_faults(answer):
        print("audit of packages is skipped: the index does not tell known faults")
        return 0
    command = [sys.executable, "-m", "pip_audit", "--requirement", "constraints.txt", "--disable-pip", "--no-deps"]
    return subprocess.run([*command, "--progress-spinner", "off"], cwd=ROOT, timeout=AUDIT_S, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
