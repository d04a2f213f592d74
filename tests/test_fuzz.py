"""Cases that once broke a promise, and a few new ones; `make fuzz` has thousands."""

from __future__ import annotations

from random import Random

import pytest

from app.core.checks import never_stop
from app.core.errors import ErrorCode, InputError, LipSyncError
from app.core.probing.probe import Limits, find_ffmpeg, probe_video
from tests.fuzz.bases import Base, make_bases
from tests.fuzz.direct import case_content
from tests.fuzz.mutations import MUTATIONS, mutate
from worker.media.decode import decode, open_source


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Base]:
    return {base.name: base for base in make_bases(tmp_path_factory.mktemp("bases"), None)}


# Base, the seed of its mutation, and what was wrong.
FOUND = [
    # the only frame cannot be decoded
    ("flash.flv", "flash.flv 10", "an exception that is no error of the service"),
    ("windows.asf", "windows.asf 9", "the same in another format"),
]


@pytest.mark.parametrize(("name", "seed"), [row[:2] for row in FOUND], ids=[row[2] for row in FOUND])
def test_what_was_found_ends_in_a_code(bases, tmp_path, name, seed):
    path = tmp_path / "input"
    path.write_bytes(mutate(bases[name].content, [base.content for base in bases.values()], seed))
    with pytest.raises(InputError) as caught:
        facts = probe_video(path, Limits())
        list(decode(open_source(path, facts, find_ffmpeg(None), never_stop), 0, facts.frames, never_stop))
    assert caught.value.code == ErrorCode.VIDEO_UNREADABLE


def test_a_picture_that_its_library_refuses_is_unreadable(bases, tmp_path):
    path = tmp_path / "input"
    path.write_bytes(bases["still.avif"].content.replace(b"av01", b"a\0\0\0"))
    with pytest.raises(InputError) as caught:
        probe_video(path, Limits())
    assert caught.value.code == ErrorCode.VIDEO_UNREADABLE and "picture is damaged" in caught.value.message


def test_a_case_is_the_same_for_ever():
    base = [Base("a.wav", bytes(range(256)) * 8, True)]
    contents = [case_content(base, 1, index)[1] for index in range(50)]
    assert contents == [case_content(base, 1, index)[1] for index in range(50)]
    assert len(set(contents)) > 45
    assert case_content(base, 2, 0)[1] != contents[0]


def test_every_mutation_takes_every_content():
    for mutation in MUTATIONS:
        for content in (b"a", b"moov", bytes(20), b"\x1a\x45\xdf\xa3\x80", b"RIFF\x10\0\0\0WAVEfmt " * 3):
            for seed in range(20):
                mutation(bytearray(content), [content, b"other"], Random(seed))


def test_no_limit_of_a_child_is_missed(bases, tmp_path):
    # a picture whose header claims more than the data hold
    path = tmp_path / "input"
    path.write_bytes(bases["still.png"].content[:16] + b"\x7f\xff\xff\xff" * 2 + bases["still.png"].content[24:])
    with pytest.raises(LipSyncError) as caught:
        probe_video(path, Limits())
    assert caught.value.code in (ErrorCode.RESOLUTION_EXCEEDED, ErrorCode.VIDEO_UNREADABLE)
