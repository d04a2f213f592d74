"""Files that name other files and addresses: nothing that opens files of strangers follows them.

The canary file is a good video whose every opening the kernel reports; the canary server counts connections. Each input
names both, and is given to the probe under both roles. Then ffmpeg itself opens it as every format of the service, as
if the recognition of formats had failed. Two tests show that the canaries would notice.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import av
import ffmpeg
import pytest

from app.core.checks import never_stop
from app.core.errors import LipSyncError
from app.core.probing import audio, video
from app.core.probing.allowed import guard_decoders, input_options
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from app.core.probing.sniff import CHUNKED, MAGIC, PICTURE_FORMATS, sniff
from app.core.sandbox.confined import try_confinement
from tests.worker.clips import portrait, write_clip
from worker.media.ffmpeg_command import ffmpeg_arguments, file_address
from worker.media.media_process import MediaProcess

FORMATS = sorted(({name for _, name in MAGIC} | {*CHUNKED.values(), "mov", "mpegts", "mp3", "aac"}) - PICTURE_FORMATS)
ACTIVE = try_confinement()
IN_OPEN, IN_NONBLOCK = 0x20, 0o4000


class Canary:
    """A file and a server that notice who comes."""

    def __init__(self, folder: Path) -> None:
        self.file = write_clip(folder / "canary.mp4", [portrait(64, 64)] * 5)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watch = self._libc.inotify_init1(IN_NONBLOCK)
        assert self._libc.inotify_add_watch(self._watch, os.fsencode(self.file), IN_OPEN) > 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._calls = 0
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._server.accept()
                self._calls += 1
                with caller, suppress(OSError):
                    caller.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def seen(self) -> list[str]:
        """Return what was noticed since the last call."""
        found = []
        with suppress(BlockingIOError):
            os.read(self._watch, 65536)
            found.append("file")
        if self._calls:
            found.append("server")
            self._calls = 0
        return found

    def end(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)
        os.close(self._watch)


@pytest.fixture(scope="module")
def canary(tmp_path_factory) -> Iterator[Canary]:
    watched = Canary(tmp_path_factory.mktemp("canary"))
    yield watched
    watched.end()


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, name) + body


def with_external_media(video: bytes, reference: bytes) -> bytes:
    """Return an MP4 whose media data lie in another file: the entry of its `dref` is changed."""
    at = video.index(b"dref") + 12
    (old_size,) = struct.unpack_from(">I", video, at)
    changed = bytearray(video)
    changed[at : at + old_size] = reference
    grown = len(reference) - old_size
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = video.rindex(name, 0, at + 1) - 4
        struct.pack_into(">I", changed, place, struct.unpack_from(">I", video, place)[0] + grown)
    return bytes(changed)


def id3(frames: bytes) -> bytes:
    size = len(frames)
    return b"ID3\x03\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + frames


def id3_frame(name: bytes, content: bytes) -> bytes:
    return name + struct.pack(">IH", len(content), 0) + content


def hostile_files(path: str, url: str, video: bytes) -> dict[str, bytes]:
    """Return contents by name that name a file and an address."""
    mp3 = b"\xff\xfb\x90\x64" + bytes(413)
    vorbis_picture = struct.pack(">II", 3, 3) + b"-->" + struct.pack(">I", 0) + bytes(16) + struct.pack(">I", len(url))
    named = struct.pack(">I", len(url)) + url.encode()
    alias = box(b"url ", b"\0\0\0\0", f"file://{path}\0".encode())
    found: dict[str, bytes | str] = {
        "HLS": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{path}\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n",
        "HLS with a map": f'#EXTM3U\n#EXT-X-MAP:URI="{path}"\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n',
        "HLS with a key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:2,\n{path}\n',
        "HLS of playlists": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}\n#EXT-X-STREAM-INF:BANDWIDTH=2\n{path}\n",
        "HLS after blanks": f"\ufeff \n#EXTM3U\n#EXTINF:2,\n{path}\n#EXTINF:2,\n{url}\n",
        "HLS after a sync byte": b"G" * 940 + f"\n#EXTM3U\n#EXTINF:2,\n{path}\n#EXTINF:2,\n{url}\n".encode(),
        "HLS after a box": box(b"ftyp", b"isom") + f"\n#EXTM3U\n#EXTINF:2,\n{path}\n#EXTINF:2,\n{url}\n".encode(),
        "HLS in an ID3 tag": id3(id3_frame(b"TXXX", f"\0\0#EXTM3U\n{url}\n{path}\n".encode())) + mp3 * 8,
        "ffconcat": f"ffconcat version 1.0\nfile '{path}'\nfile '{url}'\n",
        "concat with a comment": f"# a list\nfile '{path}'\nfile '{url}'\n",
        "concat protocol": f"concat:{path}|{url}",
        "subfile protocol": f"subfile,,start,0,end,9,,:{path}",
        "DASH": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        f'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        f'bandwidth="1"><BaseURL>{url}</BaseURL></Representation><Representation id="2" bandwidth="2">'
        f"<BaseURL>{path}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "smooth streaming": f'<SmoothStreamingMedia><StreamIndex Url="{url}"/></SmoothStreamingMedia>',
        "IMF": f'<?xml version="1.0"?><AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM">'
        f"<AssetList><Asset><ChunkList><Chunk><Path>{path}</Path></Chunk></ChunkList></Asset></AssetList></AssetMap>",
        "SVG": f'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><image href="{url}"/>'
        f'<image href="file://{path}"/></svg>',
        "SVG with an entity": f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file://{path}"><!ENTITY y SYSTEM "{url}">]>'
        "<svg>&x;&y;</svg>",
        "SMIL": f'<smil><body><video src="{url}"/><video src="{path}"/></body></smil>',
        "ASX": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
        "ASF reference": f"[Reference]\nRef1={url}\nRef2={path}\n",
        "PLS": f"[playlist]\nFile1={url}\nFile2={path}\nNumberOfEntries=2\n",
        "M3U without a header": f"{url}\n{path}\n",
        "SDP": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nm=video {url.split(':')[2][:5]} RTP/AVP 96\n",
        "RTSP text": f"RTSPtext\n{url}\n",
        "ffmetadata": f";FFMETADATA1\ntitle={url}\n[STREAM]\nurl={path}\n",
        "subtitles": f"1\n00:00:00,000 --> 00:00:01,000\n<img src='{url}'>{path}\n",
        "AviSynth": f'FFVideoSource("{path}")\n',
        "external media of an MP4": with_external_media(video, alias),
        "external media of a MOV": with_external_media(video, box(b"alis", b"\0\0\0\0", _alias_record(path))),
        "reference movie": box(b"ftyp", b"qt  \0\0\0\0qt  ")
        + box(b"moov", box(b"rmra", box(b"rmda", box(b"rdrf", bytes(4), b"url ", named))))
        + video,
        "picture by link in ID3": id3(id3_frame(b"APIC", b"\0-->\0\3\0" + url.encode())) + mp3 * 8,
        "picture by link in FLAC": b"fLaC\x86"
        + struct.pack(">I", len(vorbis_picture) + len(url))[1:]
        + vorbis_picture
        + url.encode(),
        "subtitles inside an AVI": _avi_with_subtitles(f"[Script Info]\n; {url}\n{path}\n"),
        "skeleton of an Ogg": _ogg_page(b"fishead\0" + bytes(56) + url.encode() + path.encode()),
        "script of an ASF": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14) + url.encode("utf-16-le"),
        "attachment of a Matroska": bytes.fromhex("1a45dfa3a3428288") + b"matroska" + url.encode() + path.encode(),
    }
    return {name: content.encode() if isinstance(content, str) else content for name, content in found.items()}


def _alias_record(path: str) -> bytes:
    name = Path(path).name.encode()[:27]
    record = bytearray(150)
    struct.pack_into(">IHH", record, 0, 0, 150, 2)
    record[50 : 51 + len(name)] = bytes([len(name)]) + name
    text = path.encode()
    return bytes(record) + struct.pack(">HH", 18, len(text)) + text + bytes(len(text) % 2) + b"\xff\xff\0\0"


def _avi_with_subtitles(text: str) -> bytes:
    subtitles = b"GAB2\0\2\0" + struct.pack("<I", 2) + b"a\0" + b"\4\0" + struct.pack("<I", len(text)) + text.encode()
    header = struct.pack("<4s4sIHHIIIIIII8s", b"txts", bytes(4), 0, 0, 0, 0, 1, 25, 0, 1, len(subtitles), 0, bytes(8))
    stream = b"LIST" + struct.pack("<I", 4 + 8 + len(header)) + b"strlstrh" + struct.pack("<I", len(header)) + header
    main = b"avih" + struct.pack("<I14I", 56, 40000, 0, 0, 0, 1, 0, 1, 0, 64, 64, 0, 0, 0, 0)
    headers = b"LIST" + struct.pack("<I", 4 + len(main) + len(stream)) + b"hdrl" + main + stream
    data = b"00tx" + struct.pack("<I", len(subtitles)) + subtitles + bytes(len(subtitles) % 2)
    movie = b"LIST" + struct.pack("<I", 4 + len(data)) + b"movi" + data
    return b"RIFF" + struct.pack("<I", 4 + len(headers) + len(movie)) + b"AVI " + headers + movie


def _ogg_page(content: bytes) -> bytes:
    sizes = [255] * (len(content) // 255) + [len(content) % 255]
    return b"OggS\0\2" + bytes(8) + b"\1\0\0\0" + bytes(8) + bytes([len(sizes), *sizes]) + content


@pytest.fixture(scope="module")
def hostile(canary: Canary, tmp_path_factory) -> dict[str, Path]:
    """Return the hostile files by name."""
    folder = tmp_path_factory.mktemp("hostile")
    url = f"http://127.0.0.1:{canary.port}/canary.mp4"
    contents = hostile_files(str(canary.file), url, canary.file.read_bytes())
    files = {name: folder / f"{number}.mp4" for number, name in enumerate(contents)}
    for name, path in files.items():
        path.write_bytes(contents[name])
    canary.seen()
    return files


def unguarded(path: Path, *options: str) -> list[str]:
    """Return a command that follows what a playlist names."""
    return [
        *(find_ffmpeg(None), "-v", "error", "-nostdin", "-safe", "0", "-f", "concat", "-protocol_whitelist"),
        *("file,http,tcp", *options, "-i", f"file:{path}", "-f", "null", "-"),
    ]


def write_list(folder: Path, target: str) -> Path:
    path = folder / "list.txt"
    path.write_text(f"ffconcat version 1.0\nfile '{target}'\n")
    return path


def test_the_canaries_notice_an_ffmpeg_that_follows(canary, tmp_path):
    canary.seen()
    for target, noticed in ((str(canary.file), "file"), (f"http://127.0.0.1:{canary.port}/canary.mp4", "server")):
        subprocess.run(unguarded(write_list(tmp_path, target)), stderr=subprocess.DEVNULL, check=False)
        assert canary.seen() == [noticed]


@pytest.mark.skipif(not all(ACTIVE), reason="this kernel lacks a part of the confinement")
def test_the_kernel_keeps_an_ffmpeg_that_would_follow(canary, tmp_path):
    canary.seen()
    for target in (str(canary.file), f"http://127.0.0.1:{canary.port}/canary.mp4"):
        with MediaProcess(unguarded(write_list(tmp_path, target)), never_stop) as process:
            assert process.wait() != 0
        assert canary.seen() == []


def test_no_probe_opens_what_a_file_names(canary, hostile):
    # in this process, so that the lists of names hold without the kernel
    followed = {}
    for name, path in hostile.items():
        for probe in (video.probe_video, audio.probe_audio):
            with suppress(LipSyncError, av.FFmpegError, AttributeError):
                probe(path, Limits())
        followed[name] = canary.seen()
    assert {name: seen for name, seen in followed.items() if seen} == {}


def test_no_format_opens_what_a_file_names(canary, hostile):
    # as if the format had been recognised wrongly
    followed = {}
    for name, path in hostile.items():
        for format_name in FORMATS:
            with (
                suppress(av.FFmpegError, ValueError),
                av.open(f"file:{path}", format=format_name, options=input_options(format_name)) as container,
            ):
                guard_decoders(container)
                for packet in islice(container.demux(), 20):
                    with suppress(av.FFmpegError, AttributeError):  # a stream of another kind has no decoder
                        packet.decode()
        followed[name] = canary.seen()
    assert {name: seen for name, seen in followed.items() if seen} == {}


def test_no_ffmpeg_opens_what_a_file_names(canary, hostile):
    followed = {}
    for name, path in hostile.items():
        found = sniff(path.read_bytes())
        format_name = found if found in FORMATS else "mov"
        stream = ffmpeg.input(file_address(path), f=format_name, **input_options(format_name))
        arguments = ffmpeg_arguments(stream.output("-", format="null"), find_ffmpeg(None))
        subprocess.run(arguments, stderr=subprocess.DEVNULL, check=False)  # without the kernel's help
        followed[name] = canary.seen()
    assert {name: seen for name, seen in followed.items() if seen} == {}


def test_the_probing_child_opens_nothing_that_a_file_names(canary, hostile):
    for name in ("HLS after a box", "external media of an MP4", "picture by link in ID3"):
        for probe in (probe_video, probe_audio):
            with suppress(LipSyncError):
                probe(hostile[name], Limits())
    assert canary.seen() == []
