"""Text of a CSV file: its encoding, its lines in blocks, and its numbers."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from harexport.errors import InputError

_BLOCK = 1 << 20  # bytes read at once
_LONGEST_LINE = 1 << 20  # characters
_LARGEST = 1_000_000_000  # bytes of one CSV: a day at 100 Hz has about 500 MB
# First bytes of files that people take for CSV, and what they are.
_OTHER_FILES = {
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"BZh": "compressed with bzip2; unpack it first",
    b"\xfd7zXZ": "compressed with xz; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save it as CSV",
    b"SQLite format 3": "a SQLite database; export the recording as CSV",
    b"PAR1": "a Parquet file; export the recording as CSV",
    b"\x89HDF": "an HDF5 file; export the recording as CSV",
}


def read_lines(stream: BinaryIO, where: str, is_utf8_required: bool) -> Iterator[tuple[list[str], bool]]:
    """Yield blocks of lines with their ends, and whether the file ends; decodes UTF-8, UTF-16, UTF-32, else Latin-1.

    Raises:
        InputError: The file is empty, too large, binary, or of another kind.
    """
    decoder, rest = _Decoder(where, is_utf8_required), ""
    for data, is_end in _read_blocks(stream, where):
        text = rest + decoder.decode(data, is_end)
        lines = text.splitlines(keepends=True) if not _has_odd_breaks(text) else _split_newlines(text)
        rest = ""
        if not is_end and lines and not lines[-1].endswith("\n"):
            rest = lines.pop()
            if len(rest) > _LONGEST_LINE:
                raise InputError(f"{where} has a line of more than {_LONGEST_LINE:,} characters: it is no CSV")
        yield lines, is_end


def _read_blocks(stream: BinaryIO, where: str) -> Iterator[tuple[bytes, bool]]:
    """Yield blocks of bytes, and whether the file ends. Raises InputError if it is empty, too large or no text."""
    data = stream.read(_BLOCK)
    if not data.strip(b" \t\r\n\xef\xbb\xbf"):
        raise InputError(f"{where} is empty")
    if kind := next((kind for magic, kind in _OTHER_FILES.items() if data.startswith(magic)), None):
        raise InputError(f"{where} is {kind}")
    total = 0
    while data:
        total += len(data)
        if total > _LARGEST:
            raise InputError(
                f"{where} has more than {_LARGEST / 1e6:.0f} MB; at most that is read at once. Cut it into several "
                "recordings, or use predict --follow"
            )
        following = stream.read(_BLOCK)
        yield data, not following
        data = following


class _Decoder:
    """Decodes the blocks of a file, and turns all line ends into newlines."""

    def __init__(self, where: str, is_utf8_required: bool) -> None:
        self._where, self._is_utf8_required = where, is_utf8_required
        self._encoding = ""
        self._newlines = io.IncrementalNewlineDecoder(None, translate=True)
        self._lines = 0  # so far
        self._has_zeros = False  # the last block ends with zeros

    def decode(self, data: bytes, is_end: bool) -> str:
        """Decode the next block. Raises InputError if it is not text."""
        if not self._encoding:
            self._encoding = _find_encoding(data)
            self._decoder = codecs.getincrementaldecoder(self._encoding)("strict")
        if self._encoding == "utf-8-sig":
            data = self._strip_zeros(data)
        try:
            text = self._decoder.decode(data, is_end)
        except UnicodeDecodeError as error:
            if self._encoding != "utf-8-sig":
                reason = f"neither text nor CSV ({error.reason})"
                raise InputError(f"{self._where} is {reason}; pass a recording as CSV") from None
            pending = self._decoder.getstate()[0]
            if self._is_utf8_required:
                line = self._lines + (pending + data).count(b"\n", 0, error.start) + 1
                raise InputError(f"{self._where}, line {line}: the text is not UTF-8; save the file as UTF-8") from None
            self._decoder = codecs.getincrementaldecoder("latin-1")("strict")  # "m/s²" of an old spreadsheet
            text = self._decoder.decode(pending + data, is_end)
        text = self._newlines.decode(text, final=is_end)
        self._lines += text.count("\n")
        return text

    def _strip_zeros(self, data: bytes) -> bytes:
        """Remove the zeros that a logger leaves at the end of its file when it loses power."""
        had_zeros, stripped = self._has_zeros, data.rstrip(b"\0")
        self._has_zeros = len(stripped) < len(data)
        if b"\0" in stripped or (had_zeros and stripped):
            raise InputError(
                f"{self._where} is a binary file, not CSV; pass a recording as CSV, or a folder or zip of CSVs"
            )
        return stripped


def to_float(text: str) -> float:
    """Convert a cell to a number. Raises ValueError, also for Python's 1_000 and for digits of other scripts."""
    return to_floats([text.strip()])[0]


def to_floats(texts: Sequence[str]) -> list[float]:
    """Convert cells as `to_float` does."""
    joined = "".join(texts)
    if "_" in joined or not joined.isascii():
        raise ValueError("a cell is not a number")
    return list(map(float, texts))


def _find_encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(data) > 20 and not any(data[1:20:2]) and all(data[:20:2]):  # ASCII without a byte order mark
        return "utf-16-le"
    return "utf-8-sig"


def _has_odd_breaks(text: str) -> bool:
    return any(mark in text for mark in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")


def _split_newlines(text: str) -> list[str]:
    """Split at newlines only, as files are numbered."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]
