"""Version of the running service."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "lipsync-service"


def service_version() -> str:
    """Return the installed version, or `uninstalled` if the source tree runs without installation."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "uninstalled"
