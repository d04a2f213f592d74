"""Reception of a form without a server: the pace of its bytes, and the disk that they go to."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import anyio
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.core.errors import CapacityError, ErrorCode, InputError, LipSyncError
from app.core.files import file_sha256
from app.form_shapes import BatchForm, JobForm
from app.form_writer import WRITE_OUT_BYTES
from app.uploads import BLOCK_BYTES, DRAIN_S, MOST_PIECES, UploadLimits, UploadPace, receive_form

HEADERS = [(b"content-type", b"multipart/form-data; boundary=b")]
FORM = b"".join(
    f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{(name + chr(0)) * 40}\r\n'.encode()
    for name in ("video", "audio")
)
PACE = UploadPace(window_s=0.3, window_bytes=100)
WHOLE = FORM + b"--b--\r\n"


def receive(folder, parts, pause_s, check_space=lambda size: None, pace=PACE, shape=JobForm()):  # noqa: B008
    """Receive a form that arrives in these parts with pauses before each; after the last one nothing more comes."""
    left = list(parts)

    async def next_message():
        if not left:
            await anyio.sleep_forever()
        await anyio.sleep(pause_s)
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": b"--b--" not in part}

    request = Request({"type": "http", "method": "POST", "headers": HEADERS}, next_message)
    return anyio.run(receive_form, request, folder, UploadLimits(10**9, check_space, pace), shape)


def form_of(parts):
    """Return a form of these parts: each a name, a filename or None, and a content."""
    heads = [f'name="{name}"' + ("" if file is None else f'; filename="{file}"') for name, file, _ in parts]
    bodies = [content for _, _, content in parts]
    return (
        b"".join(
            b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + body + b"\r\n"
            for head, body in zip(heads, bodies, strict=True)
        )
        + b"--b--\r\n"
    )


def pieces(content, size):
    return [content[start : start + size] for start in range(0, len(content), size)]


SLOW = [
    ("nothing comes", [], 0),
    ("the rest never comes", [FORM], 0),
    ("a byte at a time", pieces(FORM, 1), 0.02),
    ("nothing but the first parts", pieces(FORM, 20)[:5], 0),
]


@pytest.mark.parametrize(("parts", "pause_s"), [row[1:] for row in SLOW], ids=[row[0] for row in SLOW])
def test_a_form_that_stalls_is_refused(tmp_path, parts, pause_s):
    started_at = time.monotonic()
    with pytest.raises(HTTPException) as refusal:
        receive(tmp_path, parts, pause_s)
    assert refusal.value.status_code == 408
    assert refusal.value.headers == {"Connection": "close"}, "what still comes is not read"
    assert time.monotonic() - started_at < PACE.window_s + DRAIN_S, "no time is spent on reading on"


def test_a_slow_client_that_goes_on_is_served(tmp_path):
    form = receive(tmp_path, [WHOLE[:150], WHOLE[150:300], WHOLE[300:]], 0.15)
    assert form.files["video"].read_bytes() == b"video\0" * 40


def test_files_are_written_and_hashed_whatever_the_pieces(tmp_path):
    large = random.Random(0).randbytes(WRITE_OUT_BYTES + 3 * BLOCK_BYTES + 1)
    body = WHOLE.replace(b"video\0" * 40, large)
    for number, size in enumerate((70_001, BLOCK_BYTES, len(body))):
        folder = tmp_path / str(number)
        folder.mkdir()
        form = receive(folder, pieces(body, size), 0)
        assert form.files["video"].read_bytes() == large and form.files["audio"].read_bytes() == b"audio\0" * 40
        assert form.sha256 == {path: file_sha256(path) for path in form.files.values()}


def test_bytes_that_come_one_at_a_time_are_passed_on_before_they_are_a_block(tmp_path):
    taken: list[int] = []
    end = b"--b--\r\n"
    form = receive(tmp_path, [*pieces(WHOLE.removesuffix(end), 1), end], 0, taken.append, UploadPace(60, 2**30))
    assert form.files["video"].read_bytes() == b"video\0" * 40
    assert set(taken[:-1]) == {MOST_PIECES} and sum(taken) == len(WHOLE)


def test_a_slow_disk_is_not_the_client_s_fault(tmp_path):
    def check_slowly(size):
        time.sleep(0.7 * PACE.window_s)

    parts = [WHOLE[:60] + b"x" * 2**20, b"x" * 2**20, WHOLE[60:]]
    assert receive(tmp_path, parts, 0, check_slowly, UploadPace(PACE.window_s, 2**30)).files


def test_each_block_is_checked_against_the_disk(tmp_path):
    taken = []

    def check(size):
        taken.append(size)
        if sum(taken) > 3 * 2**20:
            raise CapacityError(ErrorCode.STORAGE_FULL, "full")

    part = WHOLE[:60] + b"x" * 2**20
    with pytest.raises(LipSyncError, match="storage_full"):
        receive(tmp_path, [part, part, part, part, WHOLE[60:]], 0, check)
    assert len(taken) == 3


def test_a_broken_client_is_not_a_slow_one(tmp_path):
    async def leave():
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "POST", "headers": HEADERS}, leave)
    with pytest.raises(Exception) as ending, suppress(HTTPException):
        anyio.run(receive_form, request, tmp_path, UploadLimits(10**9, lambda size: None, PACE), JobForm())
    assert ending.typename == "ClientDisconnect"


MP3 = b"\xff\xfb\x90\x00" * 10
FORGOTTEN = [
    (
        [("video", None, b"talk.mp4"), ("audio", "a.wav", b"a")],
        "video: this part is a text of 8 characters, not a file",
    ),
    ([("video", None, b"talk.mp4"), ("audio", "a.wav", b"a")], "with curl, write video=@PATH"),
    ([("video", "v.mp4", b"v"), ("audio", None, b"~/my voice.wav\n")], "audio: this part is a text of 14 characters"),
    ([("video", None, MP3), ("audio", None, MP3), ("audio_mix", None, "ä.wav".encode())], "audio_mix: this part is a"),
    ([("video", "v.mp4", b"v"), ("anna", None, b"anna.wav"), ("segments", None, b"[]")], "write NAME=@PATH"),
    ([("video", "v.mp4", b"v"), ("crff", None, b"20")], "'crff' is neither a file nor an option of a job; if it"),
    ([("video", "v.mp4", b"v"), ("a b", "a.wav", b"20")], "'a b' is neither a file nor an option of a job."),
]


@pytest.mark.parametrize(("parts", "sentence"), FORGOTTEN)
def test_a_path_that_was_sent_in_place_of_its_file_is_said_to_be_one(tmp_path, parts, sentence):
    with pytest.raises(InputError) as refusal:
        receive(tmp_path, [form_of(parts)], 0)
    assert refusal.value.code is ErrorCode.OPTION_INVALID and sentence in refusal.value.message


def test_a_path_in_place_of_a_file_of_a_batch(tmp_path):
    with pytest.raises(InputError, match=r"film\.mp4: .* a text of 10 characters, .* write film\.mp4=@PATH"):
        receive(tmp_path, [form_of([("film.mp4", None, b"./film.mp4"), ("jobs", None, b"[]")])], 0, shape=BatchForm())


@pytest.mark.parametrize("content", [MP3, b"RIFF\x24\0\0\0WAVEfmt ", b"text\0", b"", b"x" * 5000])
def test_a_file_without_a_filename_is_a_file(tmp_path, content):
    form = receive(tmp_path, [form_of([("video", None, content), ("audio", None, MP3)])], 0)
    assert form.files["video"].read_bytes() == content
