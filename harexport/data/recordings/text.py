"""Text of a CSV file: its encoding, and its lines in blocks."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
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
    """Yield blocks of lines with their ends, and whether the file ends; decodes UTF-8, UTF-16, else Latin-1."""
    data = stream.read(_BLOCK)
    if not data.strip(b" \t\r\n\xef\xbb\xbf"):
        raise InputError(f"{where} is empty")
    if kind := next((kind for magic, kind in _OTHER_FILES.items() if data.startswith(magic)), None):
        raise InputError(f"{where} is {kind}")
    encoding = _find_encoding(data)
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    rest, total, lines_before, has_zeros = "", 0, 0, False
    while True:
        total += len(data)
        if total > _LARGEST:
            raise InputError(
                f"{where} has more than {_LARGEST / 1e6:.0f} MB; at most that is read at once. Cut it into several "
                "recordings, or use predict --follow"
            )
        is_end = len(data) < _BLOCK and not (more := stream.read(_BLOCK - len(data)))
        if not is_end and len(data) < _BLOCK:
            data += more
            total += len(more)
        if encoding == "utf-8-sig":
            # A logger that loses power leaves zeros at the end of its file.
            had_zeros, stripped = has_zeros, data.rstrip(b"\0")
            has_zeros = len(stripped) < len(data)
            data = stripped
            if b"\0" in data or (had_zeros and data):
                raise InputError(
                    f"{where} is a binary file, not CSV; pass a recording as CSV, or a folder or zip of CSVs"
                )
        try:
            text = decoder.decode(data, final=is_end)
        except UnicodeDecodeError as error:
            if encoding.startswith("utf-16") or encoding == "utf-32":
                raise InputError(f"{where} is neither text nor CSV ({error.reason}); pass a recording as CSV") from None
            if is_utf8_required:
                line = lines_before + data.count(b"\n", 0, error.start) + 1
                raise InputError(f"{where}, line {line}: the text is not UTF-8; save the file as UTF-8") from None
            decoder = codecs.getincrementaldecoder("latin-1")("strict")  # "m/s²" of an old spreadsheet
            text = decoder.decode(data, final=is_end)
        rest += newlines.decode(text, final=is_end)
        lines = rest.splitlines(keepends=True) if not _has_odd_breaks(rest) else _split_newlines(rest)
        rest = ""
        if not is_end and lines and not lines[-1].endswith("\n"):
            rest = lines.pop()
            if len(rest) > _LONGEST_LINE:
                raise InputError(f"{where} has a line of more than {_LONGEST_LINE:,} characters: it is no CSV")
        lines_before += len(lines)
        yield lines, is_end
        if is_end:
            return
        data = stream.read(_BLOCK)


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
