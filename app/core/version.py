"""The version of what runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "lipsync-service"


def service_version() -> str:
    """Return the installed version, or `uninstalled` where the source tree runs as it is."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "uninstalled"
