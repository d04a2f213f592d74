"""Weights of networks that training and evaluation use but do not train: from files, and from installed packages.

Some packages carry weights of a known network. They are read as data, by path. The package itself is never imported,
because some of them would then ask for a second deep-learning framework.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from model.checkpoint import load_plain
from model.errors import BackboneError, CheckpointError


@dataclass(frozen=True)
class PackagedFile:
    """File inside an installed package.

    path: relative to the package's folder. sha256: of the only content that is accepted. install: command that
    installs the package.
    """

    package: str
    path: str
    sha256: str
    install: str

    @property
    def is_installed(self) -> bool:
        """Return whether the package is installed; the content of the file is not checked."""
        return find_spec(self.package) is not None

    def locate(self, name: str) -> Path:
        """Return the path of the file, for the network called `name`.

        Raises BackboneError if the package is not installed, or if the file has another content.
        """
        spec = find_spec(self.package)  # finds a package without importing it
        if spec is None or not spec.submodule_search_locations:
            raise BackboneError(f"{name} needs the package {self.package}: {self.install}")
        path = Path(spec.submodule_search_locations[0]) / self.path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BackboneError(f"{name} cannot read {path}: {error.strerror}; {self.install}") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise BackboneError(f"{name} refuses {path}: it is another version of the file; {self.install}")
        return path


def load_whole(network: nn.Module, path: Path, name: str) -> None:
    """Load all weights of a network from a file. Raises BackboneError naming the first weight that does not fit."""
    if not path.is_file():
        raise BackboneError(f"{name} needs its weights: there is no file {path}")
    load_table(network, read_table(path), path, name)


def load_table(network: nn.Module, found: dict[str, Tensor], path: Path, name: str) -> None:
    """Load all weights of a network from a table. Raises BackboneError naming the first weight that does not fit.

    path: where the table comes from. name: of the network; both for the error.
    """
    wanted = network.state_dict()
    for key in sorted(wanted.keys() | found.keys()):
        if key not in found or key not in wanted:
            raise BackboneError(f"{path} does not fit {name}: {key} is {'missing' if key in wanted else 'too much'}")
        check_shape(path, name, key, found[key], wanted[key])
    network.load_state_dict(found)


def read_table(path: Path) -> dict[str, Tensor]:
    """Read a file of named weights. Raises BackboneError for any other content."""
    try:
        found = load_plain(path)
    except CheckpointError as error:
        raise BackboneError(f"{path} is not a file of plain weights") from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise BackboneError(f"{path} holds no table of weights")
    return found


def check_shape(path: Path, network: str, name: str, found: Tensor, wanted: Tensor) -> None:
    """Raise BackboneError if a weight has another shape than the network's."""
    if found.shape != wanted.shape:
        shapes = tuple(found.shape), tuple(wanted.shape)
        raise BackboneError(f"{path} does not fit {network}: {name} has shape {shapes[0]}, not {shapes[1]}")
