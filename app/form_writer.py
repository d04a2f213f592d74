"""Writing of a multipart form: a parser to which the bytes are pushed, and the files to which the bytes of files go."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.core.errors import ErrorCode, InputError
from app.core.options import option_error, quoted
from app.form_shapes import FormShape

FORM_OVERHEAD_BYTES: Final = 256 * 1024  # boundaries, headers and options around the files
WRITE_OUT_BYTES: Final = 8 * 1024**2  # the disk begins to write so many bytes while others arrive
LONGEST_PATH_BYTES: Final = 4096  # of Linux


@dataclass
class Form:
    """Content of a form: the paths of its files on disk with their hashes, and its other fields as text."""

    files: dict[str, Path] = field(default_factory=dict)
    sha256: dict[Path, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def too_large(max_bytes: int) -> InputError:
    """Return the error for a form with more bytes than allowed."""
    return InputError(ErrorCode.INPUT_TOO_LARGE, f"The files are larger than {max_bytes} bytes together.")


class FormWriter:
    """Handler of the parser's events: writes each file to disk and collects the text of each option."""

    def __init__(self, boundary: bytes, folder: Path, max_bytes: int, shape: FormShape) -> None:
        self._folder, self._shape = folder, shape
        self._max_bytes = max_bytes
        self._left_bytes = max_bytes
        self._left_form_bytes = max_bytes + FORM_OVERHEAD_BYTES
        self._form = Form()
        self._headers: dict[bytes, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._name = ""
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._cached_bytes = 0  # written to the file, but not yet on its way to the disk
        self._filename: bytes | None = None
        self._text = bytearray()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, block: bytes) -> None:
        """Parse the next bytes of the body; raises InputError."""
        self._left_form_bytes -= len(block)
        if self._left_form_bytes < 0:
            raise too_large(self._max_bytes)
        try:
            self._parser.write(block)
        except FormParserError:
            raise option_error("The form is not well-formed multipart/form-data.") from None

    def finish(self) -> Form:
        """Return the form; raises InputError if the body ended early or a required file is missing."""
        if not self._ended:
            raise option_error("The form ends before its closing boundary.")
        self._shape.check_complete(self._form.files.keys(), self._form.texts.keys())
        return self._form

    def close(self) -> None:
        """Close the file of a part that did not end."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise option_error("A part of the form has no name.")
        name = self._name = options[b"name"].decode("utf-8", "replace")
        self._filename = options.get(b"filename")
        if name in self._form.files or name in self._form.texts:
            raise option_error(f"{name}: sent more than once.")
        field_kind = self._shape.kind(name, self._filename is not None)
        if field_kind is None:
            raise option_error(_unknown(name, self._filename is not None))
        if field_kind == "file":
            if len(self._form.files) >= self._shape.max_files:
                raise option_error(f"The form has more than {self._shape.max_files} files.")
            path = self._form.files[name] = self._folder / name
            self._file = path.open("xb")
            self._hash = hashlib.sha256()
            self._cached_bytes = 0

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._text += data[start:end]
            if len(self._text) > self._shape.max_text_bytes(self._name):
                raise option_error(f"{self._name}: too long.")
            return
        self._left_bytes -= end - start
        if self._left_bytes < 0:
            raise too_large(self._max_bytes)
        part = memoryview(data)[start:end]
        self._file.write(part)
        self._hash.update(part)
        self._cached_bytes += end - start
        if self._cached_bytes >= WRITE_OUT_BYTES:
            self._write_out(self._file)

    def _write_out(self, file: BinaryIO) -> None:
        """Let the disk begin to write the newest bytes, without waiting: the storage waits for all of them at the end.

        Linux starts to write changed pages that are said to be needed no more, and keeps them until they are written.
        """
        file.flush()
        os.posix_fadvise(file.fileno(), file.tell() - self._cached_bytes, self._cached_bytes, os.POSIX_FADV_DONTNEED)
        self._cached_bytes = 0

    def _on_part_end(self) -> None:
        if self._file is None:
            self._form.texts[self._name] = self._decoded()
            return
        size_bytes, path = self._file.tell(), self._form.files[self._name]
        self.close()
        if self._filename == b"" and size_bytes == 0:  # a browser sends an empty file field so
            self._form.files.pop(self._name).unlink()
            return
        if self._filename is None and 0 < size_bytes <= LONGEST_PATH_BYTES:
            _check_is_no_text(self._name, path.read_bytes())
        self._form.sha256[path] = self._hash.hexdigest()

    def _decoded(self) -> str:
        try:
            return self._text.decode("utf-8")
        except UnicodeDecodeError:
            raise option_error(f"{self._name}: must be UTF-8 text.") from None
        finally:
            self._text.clear()

    def _on_end(self) -> None:
        self._ended = True


def _check_is_no_text(name: str, content: bytes) -> None:
    """Raise InputError(option_invalid) if the content of a file is a text, such as a path that was sent as it is.

    No video, picture or sound is one: they hold bytes that are no printable characters.
    """
    try:
        text = content.decode("utf-8").strip()
    except UnicodeDecodeError:
        return
    if text.isprintable():
        message = f"{name}: this part is a text of {len(text)} characters, not a file; with curl, write {name}=@PATH."
        raise option_error(message)


def _unknown(name: str, has_filename: bool) -> str:
    """Return what to say of a field that is not in a form."""
    reason = f"{quoted(name)} is neither a file nor an option of a job"
    return f"{reason}." if has_filename else f"{reason}; if it should be a file, write NAME=@PATH with curl."
