"""Materials of the corpus, from a real server on this machine and from a folder."""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
import threading
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from model.corpus.materials import download
from model.corpus.materials.download import Addresses, read_member
from model.corpus.materials.fetch import copy_materials, fetch
from model.corpus.materials.people import read_people
from model.corpus.materials.sources import Material, read_materials
from model.errors import FetchError, MaterialError

Kind = Literal["face", "avatar", "speech"]


@dataclass
class Shelf:
    """Files by path, and how the server treats them: `cut` ends an answer after so many bytes, once."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def shelf() -> Iterator[tuple[Shelf, Addresses]]:
    """Serve a shelf on 127.0.0.1."""
    kept = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, ranged = unquote(self.path), self.headers.get("Range")
            kept.asked.append((path, ranged))
            content = kept.files.get(path)
            if content is None:
                self.send_error(404)
                return
            start = int(ranged.removeprefix("bytes=").rstrip("-")) if ranged else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if ranged else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            part = content[start:]
            self.wfile.write(part[: kept.cut.pop(path, len(part))])

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    base = f"http://127.0.0.1:{server.server_port}"
    yield (
        kept,
        Addresses(
            base + "/raw/{repository}/{commit}/{path}",
            base + "/large/{repository}/{commit}/{path}",
            base + "/pool/{package}_{commit}.deb",
        ),
    )
    server.shutdown()
    server.server_close()
    thread.join()


def _material(
    file: str, kind: Kind, path: str, repository: str = "who/what", sha256: str = "", **more: Any
) -> Material:
    facts = dict.fromkeys(["lang", "transcript", "identity", "tier", "yaw", "licence", "note"], "")
    facts |= {"identity": "x_1", "tier": "1", "yaw": "0", "lang": "en", "transcript": "Hello.", "licence": "MIT"}
    facts |= {"file": file, "repository": repository, "commit": "c0ffee", "path": path}
    return Material(
        file,
        kind,
        repository,
        "c0ffee",
        path,
        more.get("frame"),
        more.get("box"),
        sha256,
        more.get("source_sha256", ""),
        facts,
    )


def _picture(height: int, width: int) -> bytes:
    rows = np.linspace(0, 255, height * width, dtype=np.uint8).reshape(height, width)
    return bytes(cv2.imencode(".png", np.dstack([rows] * 3))[1].tobytes())


def _cut_face(path: Path, frame: int | None, box: tuple[int, int, int, int] | None) -> np.ndarray:
    read = cv2.imread(str(path))
    if read is None:
        raise MaterialError("it is not a picture")
    x, y, width, height = box or (0, 0, read.shape[1], read.shape[0])
    return np.asarray(read[y : y + height, x : x + width], np.uint8)


def _read_sound(path: Path) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), np.int16)


def _package(files: dict[str, bytes]) -> bytes:
    """Build a Debian package: an ar archive with a data.tar inside."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": packed.getvalue()}
    headers = {name: f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(part):<10}`\n" for name, part in parts.items()}
    bodies = [headers[name].encode() + part + b"\n" * (len(part) % 2) for name, part in parts.items()]
    return b"!<arch>\n" + b"".join(bodies)


def test_every_kind_is_fetched_made_and_listed(tmp_path: Path, shelf: tuple[Shelf, Addresses]) -> None:
    kept, addresses = shelf
    sound, movie = np.arange(4000, dtype=np.int16), b"\0\0\0\x18ftypmp42 a film"
    package = _package({"usr/share/a.g722": sound.tobytes(), "usr/share/b.g722": b"\1\0"})
    kept.files = {
        "/raw/who/what/c0ffee/a b/ä.png": _picture(900, 1000),
        "/raw/who/what/c0ffee/m.mp4": movie,
        "/pool/voices_c0ffee.deb": package,
    }
    digest = hashlib.sha256(package).hexdigest()
    materials = [
        _material("faces/one.jpg", "face", "a b/ä.png", box=(10, 20, 900, 850)),
        _material("avatars/m.mp4", "avatar", "m.mp4", source_sha256=hashlib.sha256(movie).hexdigest()),
        _material("speech/it/a.wav", "speech", "usr/share/a.g722", "debian:voices", source_sha256=digest),
        _material("speech/it/b.wav", "speech", "usr/share/b.g722", "debian:voices", source_sha256=digest),
    ]
    got = fetch(tmp_path, _cut_face, _read_sound, materials=materials, addresses=addresses)
    assert (got.written, got.kept, got.missing) == (4, 0, {})
    assert cv2.imread(str(tmp_path / "faces/one.jpg")).shape == (725, 768, 3)
    assert (tmp_path / "avatars/m.mp4").read_bytes() == movie
    with wave.open(str(tmp_path / "speech/it/a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.readframes(9000)) == (16000, 1, sound.tobytes())
    assert [person.identity for person in read_people(tmp_path / "faces")] == ["x_1"]
    with (tmp_path / "speech/INDEX.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["file"] for row in rows] == ["it/a.wav", "it/b.wav"] and rows[0]["transcript"] == "Hello."
    assert len(kept.asked) == 3  # one package serves both of its files
    again = fetch(tmp_path, _cut_face, _read_sound, materials=materials, addresses=addresses)
    assert (again.written, again.kept, len(kept.asked)) == (0, 4, 3)


def test_a_download_that_was_cut_off_is_resumed(tmp_path: Path, shelf: tuple[Shelf, Addresses]) -> None:
    kept, addresses = shelf
    content = np.random.default_rng(1).bytes(400_000)
    path = "/raw/who/what/c0ffee/m.mp4"
    kept.files, kept.cut = {path: content}, {path: 150_000}
    material = _material("avatars/m.mp4", "avatar", "m.mp4", source_sha256=hashlib.sha256(content).hexdigest())
    got = fetch(tmp_path, _cut_face, _read_sound, materials=[material], addresses=addresses)
    assert got.written == 1 and (tmp_path / "avatars/m.mp4").read_bytes() == content
    assert [ranged is not None for _, ranged in kept.asked] == [False, True]


def test_large_files_are_found_behind_their_pointers(tmp_path: Path, shelf: tuple[Shelf, Addresses]) -> None:
    kept, addresses = shelf
    kept.files = {
        "/raw/who/what/c0ffee/f.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "/large/who/what/c0ffee/f.png": _picture(40, 50),
    }
    got = fetch(
        tmp_path, _cut_face, _read_sound, materials=[_material("faces/f.jpg", "face", "f.png")], addresses=addresses
    )
    assert got.written == 1 and cv2.imread(str(tmp_path / "faces/f.jpg")).shape == (40, 50, 3)


@pytest.mark.parametrize(
    ("content", "more", "sentence"),
    [
        (None, {}, "answers 404"),
        (b"not a picture", {}, "it is not a picture"),
        (b"another picture", {"source_sha256": "0" * 64}, "its sha256 differs"),
        (b"x" * (download.MAX_BYTES + 1), {}, "larger than 64 MiB"),
    ],
)
def test_a_missing_file_has_a_reason_and_leaves_nothing(
    tmp_path: Path, shelf: tuple[Shelf, Addresses], content: bytes | None, more: dict[str, str], sentence: str
) -> None:
    kept, addresses = shelf
    kept.files = {"/raw/who/what/c0ffee/good.png": _picture(30, 30)}
    if content is not None:
        kept.files["/raw/who/what/c0ffee/bad.png"] = content
    materials = [_material("faces/bad.jpg", "face", "bad.png", **more), _material("faces/good.jpg", "face", "good.png")]
    logged: list[str] = []
    got = fetch(tmp_path, _cut_face, _read_sound, logged.append, materials, addresses)
    assert got.written == 1 and sentence in got.missing["faces/bad.jpg"] and sentence in logged[0]
    assert sorted(path.name for path in (tmp_path / "faces").iterdir()) == ["INDEX.csv", "good.jpg"]


def test_a_server_that_does_not_answer_is_a_reason(tmp_path: Path) -> None:
    closed = Addresses("http://127.0.0.1:9/{path}", "http://127.0.0.1:9/{path}", "http://127.0.0.1:9/{package}")
    got = fetch(
        tmp_path, _cut_face, _read_sound, materials=[_material("faces/f.jpg", "face", "f.png")], addresses=closed
    )
    assert "cannot be fetched" in got.missing["faces/f.jpg"]


@pytest.mark.parametrize("content", [b"", b"junk", b"!<arch>\n", _package({"a": b"1"})[:-40]])
def test_broken_packages_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.deb").write_bytes(content)
    with pytest.raises(FetchError, match=r"p\.deb"):
        read_member(tmp_path / "p.deb", "usr/a")


def test_a_folder_is_checked_by_hash(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    (folder / "faces").mkdir(parents=True)
    for name in ("good", "other"):
        (folder / "faces" / f"{name}.jpg").write_bytes(_picture(30, 30))
    digest = hashlib.sha256(_picture(30, 30)).hexdigest()
    materials = [_material(f"faces/{name}.jpg", "face", "p", sha256=digest) for name in ("good", "other", "gone")]
    materials[1] = replace(materials[1], sha256="0" * 64)
    got = copy_materials(tmp_path / "out", folder, materials=materials)
    assert got.written == 1
    assert "sha256 differs" in got.missing["faces/other.jpg"] and "not in the folder" in got.missing["faces/gone.jpg"]
    assert copy_materials(tmp_path / "out", folder, materials=materials).kept == 1
    assert sorted(path.name for path in (tmp_path / "out" / "faces").iterdir()) == ["INDEX.csv", "good.jpg"]


@pytest.mark.parametrize("where", ["network", "folder"])
@pytest.mark.parametrize(("to_be_had", "counts"), [(True, (1, 1, 0)), (False, (0, 1, 1))])
def test_a_file_is_kept_only_if_it_is_right(
    tmp_path: Path, shelf: tuple[Shelf, Addresses], where: str, to_be_had: bool, counts: tuple[int, int, int]
) -> None:
    kept, addresses = shelf
    films = {name: b"a film of " + name.encode() for name in ("good", "bad")}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in films.items()}
    materials = [
        _material(f"avatars/{name}.mp4", "avatar", f"{name}.mp4", sha256=digest, source_sha256=digest)
        for name, digest in digests.items()
    ]
    out, given = tmp_path / "out" / "avatars", tmp_path / "given" / "avatars"
    out.mkdir(parents=True)
    given.mkdir(parents=True)
    (out / "good.mp4").write_bytes(films["good"])
    (out / "bad.mp4").write_bytes(b"junk")
    if to_be_had:
        kept.files["/raw/who/what/c0ffee/bad.mp4"] = films["bad"]
        (given / "bad.mp4").write_bytes(films["bad"])
    got = (
        copy_materials(out.parent, given.parent, materials=materials)
        if where == "folder"
        else fetch(out.parent, _cut_face, _read_sound, materials=materials, addresses=addresses)
    )
    assert (got.written, got.kept, len(got.missing)) == counts
    assert (out / "bad.mp4").read_bytes() == (films["bad"] if to_be_had else b"junk")
    with (out / "INDEX.csv").open(newline="", encoding="utf-8") as lines:
        assert [row["file"] for row in csv.DictReader(lines)] == ["good.mp4", "bad.mp4"][: 1 + to_be_had]


@pytest.mark.parametrize(("known", "asked"), [(True, 2), (False, 1)])
def test_files_that_were_made_here_are_made_again_and_compared(
    tmp_path: Path, shelf: tuple[Shelf, Addresses], known: bool, asked: int
) -> None:
    """A damaged picture is made again, and a damaged original is downloaded again if its hash is known."""
    kept, addresses = shelf
    picture = _picture(40, 50)
    kept.files["/raw/who/what/c0ffee/f.png"] = picture
    digest = hashlib.sha256(picture).hexdigest() if known else ""
    materials = [_material("faces/f.jpg", "face", "f.png", sha256="0" * 64, source_sha256=digest)]

    def again() -> tuple[int, int]:
        got = fetch(tmp_path, _cut_face, _read_sound, materials=materials, addresses=addresses)
        return got.written, got.kept

    assert (again(), again()) == ((1, 0), (0, 1))
    (tmp_path / "faces" / "f.jpg").write_bytes(b"junk")
    assert again() == (1, 0) and cv2.imread(str(tmp_path / "faces" / "f.jpg")).shape == (40, 50, 3)
    (original,) = (tmp_path / "originals").iterdir()
    original.write_bytes(_picture(40, 51) if known else picture)
    assert again() == (0, 1) and len(kept.asked) == asked


def test_the_table_lists_only_files_with_clear_rights() -> None:
    materials = read_materials()
    assert len({material.file for material in materials}) == len(materials) > 150
    for material in materials:
        facts = material.facts
        assert len(material.sha256) == 64 and material.commit and material.path and facts["licence"]
        assert material.is_packaged or len(material.commit) == 40
        assert material.folder == {"face": "faces", "avatar": "avatars", "speech": "speech"}[material.kind]
        if material.kind == "speech":
            assert facts["transcript"] and facts["licence"].startswith(("public domain", "MIT", "CC-BY-3.0"))
        else:
            assert facts["tier"] in ("1", "2") and "astronaut" not in material.file and facts["licence"] == "Apache-2.0"


def test_the_reference_folder_matches_the_table(tmp_path: Path, shared_dir: Path) -> None:
    got = copy_materials(tmp_path, shared_dir / "media")
    assert got.missing == {} and got.written == len(read_materials())
