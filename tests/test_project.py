"""Facts that pyproject.toml, the lock, the changelog, the images and a wheel must agree on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import find_packages

from app.core.version import DISTRIBUTION
from tests.conftest import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
DATA = [(package, pattern) for package, patterns in SETUPTOOLS["package-data"].items() for pattern in patterns]


def locked_versions() -> dict[str, str]:
    """Return the versions of constraints.txt by canonical name."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> list[str]:
    """Return every requirement that pyproject.toml names."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = PROJECT["dependency-groups"].values()
    return [*PROJECT["project"]["dependencies"], *(line for lines in (*extras, *groups) for line in lines)]


@pytest.mark.parametrize("line", sorted(set(requirements())))
def test_the_lock_has_a_fitting_version_of_every_dependency(line: str) -> None:
    requirement = Requirement(line)
    version = locked_versions().get(canonicalize_name(requirement.name))
    assert version is not None, f"`make lock` adds {requirement.name} to constraints.txt"
    assert requirement.specifier.contains(version), f"`make lock` brings {requirement.name} into its range"


def test_the_lock_fits_every_build_and_index() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "+" not in text and "://" not in text and "[" not in text


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker/services.yml", "docker/worker.Dockerfile"])
def test_the_images_take_the_torch_of_the_lock(file: str) -> None:
    named = re.findall(r"\btorch==(\d[\d.]*\d)", (ROOT / file).read_text())
    assert named and set(named) == {locked_versions()["torch"]}


def test_the_changelog_begins_with_the_version() -> None:
    assert PROJECT["project"]["name"] == DISTRIBUTION
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None and newest[1] == PROJECT["project"]["version"]


def test_a_wheel_holds_the_four_packages() -> None:
    packages = find_packages(str(ROOT), include=SETUPTOOLS["packages"]["find"]["include"])
    assert {name.partition(".")[0] for name in packages} == {"app", "worker", "model", "lipsync"}
    folders = {
        path.parent.relative_to(ROOT) for name in ("app", "worker", "model", "lipsync") for path in modules(name)
    }
    assert folders == {Path(*name.split(".")) for name in packages}


def modules(package: str) -> list[Path]:
    """Return the Python files of a package and of all folders below it."""
    return list((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(("package", "pattern"), DATA)
def test_every_pattern_of_package_data_matches_files(package: str, pattern: str) -> None:
    assert any(path.is_file() for path in (ROOT / package).glob(pattern))


@pytest.mark.parametrize("package", ["app", "worker", "model", "lipsync"])
def test_every_file_of_a_package_is_in_the_wheel(package: str) -> None:
    carried = {path for name, pattern in DATA if name == package for path in (ROOT / name).glob(pattern)}
    files = {path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files - carried == set()
