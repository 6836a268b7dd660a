"""Mutations of a valid input: bytes, lines, numbers and parts of other inputs."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_SPECIAL = (
    b"", b"0", b"-1", b"1", b"nan", b"NaN", b"inf", b"-Infinity", b"1e999", b"1e-999", b"-0.0", b"1e15", b"2147483648",
    b"-9223372036854775809", b"18446744073709551616", b"9" * 5000, b"0x1F", b"1_000", b"1,5", b"true", b"null", b"[]",
    b"{}", b'""', b'"', b"'", b"\\", b"\n", b"\r", b"\r\n", b"\t", b";", b",", b"=", b"[", b"]", b"{", b"}", b"#", b":",
    b"\x00", b"\xff\xff\xff\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\x1b[2J", b"\xe2\x80\xae", b"../", b"/dev/zero", b"|",
    b"<script>", b"$", b"\\frac{", b"%s%n", b"a" * 300, b"(" * 50, b"[" * 2000, b"PK\x05\x06", b"\x80", b"\xc3\x28",
    b"1970-01-01T00:00:00Z", b"24:00:00", b"2024-02-30", b"time", b"acc", b"gyro", b"label", b"x", b"unit", b"g", b"ms",
)  # fmt: skip
_MOST_STEPS = 6
_LARGEST = 1 << 20  # bytes of a mutated input


def mutate(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Return a seed after 1 to 6 random changes."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, _MOST_STEPS))):
        rng.choice(_CHANGES)(data, seeds, rng)
        del data[_LARGEST:]
    return bytes(data)


def _position(data: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1) if rng.random() < 0.7 else rng.randrange(min(len(data), 200) + 1)


def _flip(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[min(_position(data, rng), len(data) - 1)] ^= 1 << rng.randrange(8)


def _replace_byte(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[min(_position(data, rng), len(data) - 1)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))


def _insert(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    at = _position(data, rng)
    data[at:at] = rng.choice(_SPECIAL)


def _replace_number(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    start = _position(data, rng)
    if found := _NUMBER.search(data, start, start + 500):
        data[found.start() : found.end()] = rng.choice(_SPECIAL)


def _delete(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    at = _position(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 16, 100, 1000))]


def _cut(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    if rng.random() < 0.3:
        del data[_position(data, rng) :]


def _repeat(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    at = _position(data, rng)
    part = data[at : at + rng.choice((1, 4, 50, 500))]
    data[at:at] = part * rng.choice((1, 2, 20))


def _splice(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(seeds)
    start = rng.randrange(len(other) + 1)
    at = _position(data, rng)
    data[at : at + rng.choice((0, 10, 100))] = other[start : start + rng.choice((4, 40, 400))]


def _change_line(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    lines = bytes(data).split(b"\n")
    k, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    action = rng.randrange(4)
    if action == 0:
        lines[k], lines[other] = lines[other], lines[k]
    elif action == 1:
        lines.insert(k, lines[other])
    elif action == 2:
        del lines[k]
    else:
        lines[k] = lines[k].replace(b",", rng.choice((b";", b"\t", b",,", b" ", b"|")))
    data[:] = b"\n".join(lines)


_CHANGES = (_flip, _replace_byte, _insert, _replace_number, _delete, _cut, _repeat, _splice, _change_line)
