"""Every command with arguments that cannot work: one line on standard error, status 2, never a traceback."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from lipsync.__main__ import main
from lipsync.sample import portrait
from tests.conftest import ROOT

ID = "0123456789abcdef" * 2
LINE = re.compile(r"error: [a-z_]+: [^\n]+[.]")


def ends_well(status: int, told: str) -> str:
    """Return the one line of an error; fail for any other end."""
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in told and "A fault of the program" not in told, told
    assert status == 2 and len(lines) == 1 and LINE.fullmatch(lines[0]), told
    return lines[0]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with what the cases name."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"not media, not weights, not a recipe")
    (tmp_path / "zero").touch()
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "ok.wav").write_bytes((ROOT / "lipsync" / "voice.wav").read_bytes())
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


CASES = [
    "sync --video none --audio none --output o.mp4",
    "sync --video folder --audio ok.wav --output o.mp4",
    "sync --video pipe --audio ok.wav --output o.mp4",
    "sync --video zero --audio ok.wav --output o.mp4",
    "sync --video file/deeper --audio ok.wav --output o.mp4",
    "sync --video bytes --audio ok.wav --output o.mp4 --checkpoint none",
    "sync --video ok.wav --audio ok.wav --output folder",
    "sync --video ok.wav --audio none --output o.mp4",
    "sync --video ok.wav --audio ok.wav --audio-mix folder --output o.mp4",
    "sync --video ok.wav --audio ok.wav --output o.mp4 --strength x",
    'sync --video ok.wav --audio ok.wav --output o.mp4 --metadata {"a":1}',
    'submit --video ok.wav --audio ok.wav --url http://127.0.0.1:9 --metadata {"a":1e999}',
    "sync --video ok.wav --audio ok.wav",
    "submit --video none --audio ok.wav",
    "submit --video folder --audio ok.wav",
    "submit --video ok.wav --audio ok.wav --api-key ключ",
    "submit --video ok.wav --audio ok.wav --idempotency-key ключ",
    "submit --video ok.wav --audio ok.wav --output folder",
    "submit --video ok.wav --audio ok.wav --output file/o.mp4",
    "submit --video ok.wav --audio ok.wav --url http://127.0.0.1:9",
    *(f"{command} ''" for command in ("status", "wait", "cancel", "retry", "download --output o.mp4")),
    *(f"{command} ../healthz" for command in ("status", "wait", "cancel", "retry", "download --output o.mp4")),
    *(f"{command} é?limit=1#x" for command in ("status", "wait", "cancel", "retry", "download --output o.mp4")),
    f"status {ID} --url http://127.0.0.1:9",
    f"status {ID} --url htp://x",
    f"status {ID} --url http://",
    f"status {ID} --url http://[::1",
    f"status {ID} --url http://a:99999",
    f"status {ID} --url ''",
    f"status {ID} --url http://ü..x",
    f"status {ID} --api-key a\nb",
    f"wait {ID} --timeout-s nan",
    f"wait {ID} --timeout-s 0.1 --url http://127.0.0.1:9",
    f"download {ID} --output folder",
    f"download {ID}",
    "bench --clip none",
    "bench --json folder",
    "bench --json file/deeper.json",
    "bench --runs 0",
    "corpus --out file",
    "corpus --out file/deeper",
    "corpus --out o --seed -1",
    "corpus --out o --faces none --clips 1 --voices 0",
    "corpus --out o --speech none --clips 1 --voices 0",
    "corpus fetch --out file",
    "corpus fetch --out o --from none",
    "prepare none --out o",
    "prepare file --out o",
    "prepare folder --out file",
    "prepare folder --out o --expert none",
    "prepare folder --out o --val-share nan",
    "train --config none --corpus none --run o",
    "train --config folder --corpus none --run o",
    "train --config bytes --corpus none --run o",
    "train --config file --corpus none --run o",
    "train --config {recipe} --corpus none --run o",
    "train --config {recipe} --corpus file --run o",
    "train --config {recipe} --corpus folder --run file",
    "evaluate",
    "evaluate --corpus none",
    "evaluate --clips none",
    "evaluate --result none",
    "evaluate --result ok.wav --json folder",
    "evaluate --result ok.wav --json file/deeper",
    "evaluate --result ok.wav --html file",
    "evaluate --result ok.wav --seconds nan",
    "evaluate --result ok.wav --syncnet none",
    "evaluate --result ok.wav --syncnet bytes",
    "evaluate --result ok.wav --inception none",
    "evaluate --result ok.wav --inception file",
    "evaluate --result ok.wav --lpips-backbone none",
    "evaluate --corpus folder --checkpoint none",
    "evaluate --raters o --system a=none",
    "evaluate --raters file --system a=folder",
    "evaluate --raters o",
    "evaluate --raters o --ratings none",
    "evaluate --raters folder --ratings bytes",
    "ablate --corpus none --out o",
    "ablate --corpus folder --out file",
    "ablate --corpus folder --out o --config none",
    "ablate --corpus folder --out o --config bytes",
    "fit-sync --corpus none --out o",
    "fit-sync --corpus file --out o",
    "fit-sync --corpus folder --out folder",
    "fetch-encoder --out file",
    "fetch-encoder --out o --from http://127.0.0.1:9/",
    "fetch-encoder --out o --from ключ",
    "fetch-encoder --out o --from file:///etc/",
    "nothing",
    "--nothing",
    "sync --nothing",
    "api",
    "worker",
]
# These load the face detector first.
SLOW_CASES = [
    "evaluate --corpus file",
    "evaluate --corpus folder",
    "evaluate --clips folder",
    "evaluate --clips file",
    "evaluate --result file --reference folder",
    "evaluate --result ok.wav",
    "evaluate --result ok.wav --reference none",
    "evaluate --corpus folder --checkpoint file",
    "evaluate --result folder --result file --reference file",
]


@pytest.mark.parametrize("words", [*CASES, *(pytest.param(words, marks=pytest.mark.slow) for words in SLOW_CASES)])
def test_hostile_arguments_end_as_one_line(place: Path, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for name in ("LIPSYNC_REDIS_URL", "LIPSYNC_URL", "LIPSYNC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    recipe = ROOT / "model" / "configs" / "hearing.toml"
    arguments = ["" if word == "''" else word.replace("{recipe}", str(recipe)) for word in words.split(" ")]
    ended = CliRunner().invoke(main, arguments)
    ends_well(ended.exit_code, ended.stderr)


NAMED = [
    # arguments of `sync`, how the error begins
    ("--video none --audio ok.wav", "video_unreadable: video none: There is no such file"),
    ("--video zero --audio ok.wav", "video_unreadable: video zero: The file is empty"),
    ("--video face.png --audio zero", "audio_unreadable: audio zero: The file is empty"),
    ("--video face.png --audio ok.wav --audio-mix folder", "audio_unreadable: audio_mix folder: This is a folder"),
    ("--video face.png --segments dubs.json", "audio_unreadable: segments[0].audio none.wav: There is no such file"),
    ("--video face.png --audio ok.wav --priority high", "option_invalid: No such option '--priority'"),
    ("--video face.png --audio ok.wav --webhook-url http://x/", "option_invalid: No such option '--webhook-url'"),
]


@pytest.mark.parametrize(("words", "said"), NAMED)
def test_an_error_of_a_file_names_option_and_file(
    words: str, said: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    portrait().save("face.png")
    Path("dubs.json").write_text('[{"start_s": 0, "end_s": 1, "audio": "none.wav"}]')
    ended = CliRunner().invoke(main, ["sync", *words.split(" "), "--output", "o.mp4"])
    assert ends_well(ended.exit_code, ended.stderr).startswith(f"error: {said}")


def test_a_client_without_a_service_says_what_to_do() -> None:
    ended = CliRunner().invoke(main, ["status", ID, "--url", "http://127.0.0.1:9"])
    assert ended.stderr.splitlines()[1:] == [
        "hint: Start a service with `lipsync serve`, or name one with --url or LIPSYNC_URL."
    ]


def test_a_bucket_that_does_not_answer_is_no_missing_service(place: Path) -> None:
    upload = b'{"id": "u", "method": "PUT", "url": "http://127.0.0.1:9/bucket", "headers": {}}'
    words = ["submit", "--video", str(place / "file"), "--audio", str(place / "ok.wav"), "--via-storage"]
    with serving(answering(upload, b"application/json", b"201 Created")) as url:
        told = CliRunner().invoke(main, [*words, "--url", url]).stderr
    assert told == "error: internal: video: the storage of the service does not answer.\n"


@pytest.mark.parametrize("command", ["submit", "status", "wait", "cancel", "retry", "download"])
def test_the_help_of_a_client_names_its_variables(command: str) -> None:
    told = CliRunner().invoke(main, [command, "--help"]).stdout
    assert "LIPSYNC_URL" in told and "LIPSYNC_API_KEY" in told


SETTINGS = [
    {"LIPSYNC_WORKERS": "0"},
    {"LIPSYNC_PORT": "x"},
    {"LIPSYNC_UNKNOWN": "1"},
    {"LIPSYNC_CHECKPOINT": "none"},
    {"LIPSYNC_FFMPEG": "none"},
    {"LIPSYNC_DEVICE": "cuda:99"},
]


@pytest.mark.parametrize("environment", SETTINGS)
def test_wrong_settings_end_as_one_line(
    place: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    portrait().save("face.png")
    words = ["sync", "--video", "face.png", "--audio", "ok.wav", "--output", "o.mp4"]
    ended = CliRunner(env=environment).invoke(main, words)
    ends_well(ended.exit_code, ended.stderr)
    assert not (place / "o.mp4").exists()


def reset(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def answering(text: bytes, kind: bytes = b"text/html", status: bytes = b"200 OK"):
    def answer(connection: socket.socket) -> None:
        received = b""
        while (at := received.find(b"\r\n\r\n")) < 0:
            received += connection.recv(65536)
        length = re.search(rb"(?i)content-length: (\d+)", received)
        left = int(length[1]) - (len(received) - at - 4) if length else 0
        while left > 0:
            left -= len(connection.recv(65536))
        head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        connection.sendall(head % (status, kind, len(text)) + text)

    return answer


SERVERS = {
    "reset": reset,
    "closed": lambda connection: None,
    "page": answering(b"<html>hello"),
    "list": answering(b"[1]", b"application/json"),
    "object": answering(b"{}", b"application/json"),
    "other words": answering(b'{"status": 3}', b"application/json"),
    "not UTF-8": answering(b"\xff\xfe\x00", b"application/json"),
    "redirect": answering(b"", b"text/html", b"302 Found\r\nLocation: http://127.0.0.1:9/"),
    "bad gateway": answering(b"<html>", b"text/html", b"502 Bad Gateway"),
    "no HTTP": lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9\r\n"),
    "bad compression": answering(b"junk", b"application/json", b"200 OK\r\nContent-Encoding: gzip"),
    "cut": answering(b"", b"video/mp4", b"200 OK\r\nTransfer-Encoding: chunked\r\nX: y"),
}


@contextmanager
def serving(answer) -> Iterator[str]:
    """Answer every connection in this way and yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    answer(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(30)


@pytest.mark.parametrize("kind", SERVERS)
def test_servers_that_are_no_service(kind: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    calls = [
        ["status", ID],
        ["download", ID, "--output", "o.mp4"],
        ["submit", "--video", "ok.wav", "--audio", "ok.wav"],
        ["wait", ID, "--timeout-s", "0.1"],
    ]
    with serving(SERVERS[kind]) as url:
        for words in calls:
            ended = CliRunner().invoke(main, [*words, "--url", url])
            ends_well(ended.exit_code, ended.stderr)
    assert not (place / "o.mp4").exists() and not list(place.glob(".o.mp4*"))


def run(words: list[str], **places) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lipsync", *words]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, timeout=300, **places)


def test_a_full_disk_behind_standard_output() -> None:
    with Path("/dev/full").open("w") as full:
        ended = run(["--version"], stdout=full)
    assert "storage_full" in ends_well(ended.returncode, ended.stderr)


def test_a_reader_that_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = run(["sync", "--help"], stdout=writing)
    finally:
        os.close(writing)
    assert ended.returncode == 1 and ended.stderr == ""


def test_a_name_that_is_no_text() -> None:
    name = os.fsdecode(b"\xff\xfe.mp4")
    ended = run(["sync", "--video", name, "--audio", name, "--output", name], stdout=subprocess.DEVNULL)
    ends_well(ended.returncode, ended.stderr)


def test_ctrl_c(tmp_path: Path) -> None:
    def silent(connection: socket.socket) -> None:
        started.set()
        connection.settimeout(60)
        connection.recv(65536)
        connection.recv(65536)  # until the client has gone

    started = threading.Event()
    with serving(silent) as url:
        # A shell without job control starts its background programs, such as a run of these tests, without SIGINT.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "lipsync", "status", ID, "--url", url]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            assert started.wait(60)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
    assert (process.returncode, told.strip()) == (130, "error: canceled: Stopped by Ctrl-C.")


def test_version() -> None:
    ended = CliRunner().invoke(main, ["--version"])
    assert ended.exit_code == 0 and re.fullmatch(r"lipsync, version \S+\n", ended.stdout)
