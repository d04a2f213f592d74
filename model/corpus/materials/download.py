"""Downloads of original files: resumed after a cut, bounded in size, and checked if their hash is known.

pooch would bring retries and hash checks, but it can neither resume a download nor stop at a size limit, and it does
not read single files from Debian packages; so the downloads are written here.

Every wait for the network is bounded (TIMEOUT).
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from model.corpus.materials.sources import DEBIAN, Material
from model.errors import FetchError
from model.files import file_sha256, replacing

MAX_BYTES = 64 * 2**20
TIMEOUT = httpx.Timeout(60.0, connect=15.0)
TRIES = 3
_CHUNK_BYTES = 2**16
_AR_MAGIC, _AR_HEADER_BYTES = b"!<arch>\n", 60
_POINTER = b"version https://git-lfs"  # the beginning of the small file that stands for a large one in a repository


@dataclass(frozen=True)
class Addresses:
    """Templates of the addresses of originals.

    repository: for a file of a repository. large: for a file that the repository keeps in Git LFS. package: for a
    Debian package.
    """

    repository: str = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"
    large: str = "https://media.githubusercontent.com/media/{repository}/{commit}/{path}"
    package: str = "https://deb.debian.org/debian/pool/main/a/asterisk-core-sounds/{package}_{commit}_all.deb"

    def of(self, material: Material) -> tuple[str, ...]:
        """Return the addresses to try, in order."""
        if material.is_packaged:
            package = material.repository.removeprefix(DEBIAN)
            return (self.package.format(package=package, commit=material.commit),)
        parts = {"repository": material.repository, "commit": material.commit, "path": quote(material.path)}
        return self.repository.format(**parts), self.large.format(**parts)


class Downloads:
    """Folder of downloaded originals, each under a name that follows from its address.

    An original that exists is downloaded again only if its hash is known and differs. `advance` is called with the
    number of bytes of each part that arrives.
    """

    def __init__(
        self,
        folder: Path,
        client: httpx.Client,
        addresses: Addresses,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._folder, self._client, self._addresses, self._advance = folder, client, addresses, advance
        self._checked: set[Path] = set()

    def original(self, material: Material) -> Path:
        """Return the original file of a material, downloaded if needed. Raises FetchError."""
        path = self._whole(material)
        if not material.is_packaged:
            return path
        member = self._place(f"{path.name}/{material.path}", material.path)
        if not member.is_file():
            with replacing(member) as partial:
                partial.write_bytes(read_member(path, material.path))
        return member

    def _whole(self, material: Material) -> Path:
        """Return the file at the material's address: the original, or the package that holds it."""
        reason = ""
        for address in self._addresses.of(material):
            path = self._place(address, address)
            try:
                if not self._is_right(path, material.source_sha256):
                    self._fetch(address, path, material.source_sha256)
                    self._checked.add(path)
                with path.open("rb") as file:
                    if file.read(len(_POINTER)) != _POINTER:
                        return path
                reason = f"{address} only names a large file"
            except FetchError as error:
                reason = reason or str(error)
        raise FetchError(reason)

    def _place(self, key: str, name: str) -> Path:
        """Return the path of a download, made from the hash of `key` and the suffix of `name`."""
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}{Path(name).suffix}"

    def _is_right(self, path: Path, sha256: str) -> bool:
        """Return whether a file exists and has the hash, if one is known. Each file is hashed only once."""
        if path not in self._checked and path.is_file() and (not sha256 or file_sha256(path) == sha256):
            self._checked.add(path)
        return path in self._checked

    def _fetch(self, address: str, path: Path, sha256: str) -> None:
        """Download a file and check its hash. Raises FetchError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")  # a fixed name: a later run resumes it
        for attempt in range(1, TRIES + 1):
            try:
                self._stream(address, partial)
                break
            except httpx.HTTPError as error:
                if attempt == TRIES:
                    raise FetchError(f"{address} cannot be fetched ({error or type(error).__name__})") from error
        if sha256 and file_sha256(partial) != sha256:
            partial.unlink()
            raise FetchError(f"{address} is not the file that the table names (its sha256 differs)")
        partial.replace(path)

    def _stream(self, address: str, partial: Path) -> None:
        """Append the missing part of a file.

        Raises httpx.HTTPError if the answer ends early, and FetchError if the server refuses or the file is too large.
        """
        have = partial.stat().st_size if partial.is_file() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._client.stream("GET", address, headers=headers, timeout=TIMEOUT, follow_redirects=True) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                partial.unlink()
                raise httpx.RemoteProtocolError("the part that was there did not fit")
            if answer.is_server_error:
                answer.raise_for_status()
            if not answer.is_success:
                raise FetchError(f"{address} answers {answer.status_code}")
            resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
            size = have if resumed else 0
            with partial.open("ab" if resumed else "wb") as file:
                for chunk in answer.iter_bytes(_CHUNK_BYTES):
                    size += len(chunk)
                    if size > MAX_BYTES:
                        raise FetchError(f"{address} is larger than {MAX_BYTES >> 20} MiB")
                    file.write(chunk)
                    self._advance(len(chunk))


def read_member(package: Path, path: str) -> bytes:
    """Return one file of a Debian package: an `ar` archive whose data.tar holds the files. Raises FetchError."""
    try:
        with tarfile.open(fileobj=io.BytesIO(_data_archive(package.read_bytes())), mode="r:*") as archive:
            for member in archive:
                if member.name.removeprefix("./") == path and member.isfile() and member.size <= MAX_BYTES:
                    file = archive.extractfile(member)
                    return file.read() if file is not None else b""
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise FetchError(f"{package.name} is not a package that can be read") from error
    raise FetchError(f"{package.name} holds no file {path}")


def _data_archive(content: bytes) -> bytes:
    """Return the data.tar of an `ar` archive. Raises ValueError."""
    at = len(_AR_MAGIC)
    while content.startswith(_AR_MAGIC) and at + _AR_HEADER_BYTES <= len(content):
        header = content[at : at + _AR_HEADER_BYTES]
        name, size = header[:16].decode("ascii", "replace").strip(), int(header[48:58])
        at += _AR_HEADER_BYTES
        if name.startswith("data.tar"):
            return content[at : at + size]
        at += size + size % 2
    raise ValueError("no data archive")
