"""Which training subjects a run holds out, and with which seeds it is repeated."""

from __future__ import annotations

from collections.abc import Sequence

from harexport.errors import InputError

LOSO = "loso"
_MOST_SEEDS = 1000


def folds(subjects: Sequence[int], asked: str) -> list[tuple[int, ...]]:
    """The subjects that each fold holds out: every subject in exactly one fold.

    asked: "loso" (leave one subject out) or a number of folds; fold k of n holds out the subjects k, k + n, k + 2n ...
    of the sorted list, so that folds are of about one size and neighbours in the list are apart. Raises InputError.
    """
    ordered = sorted(set(subjects))
    if len(ordered) < 2:
        raise InputError(
            f"the training windows are of {len(ordered)} subject(s): one is held out and one trained on, so two is the "
            "least"
        )
    if asked == LOSO:
        count = len(ordered)
    else:
        count = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 9 else 0
        if not 2 <= count <= len(ordered):
            raise InputError(
                f"--folds {asked}: give {LOSO} or a number from 2 to {len(ordered)}, the number of training subjects"
            )
    return [tuple(ordered[k::count]) for k in range(count)]


def seeds(text: str) -> tuple[int, ...]:
    """`--seeds` as numbers, each once. Raises InputError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) <= 10 and int(part) < 2**32 for part in parts):
        raise InputError(f"--seeds {text}: give numbers from 0 to {2**32 - 1} with commas, such as 0,1,2")
    if len(parts) > _MOST_SEEDS:
        raise InputError(f"--seeds: {len(parts)} of them; at most {_MOST_SEEDS}")
    return tuple(dict.fromkeys(int(part) for part in parts))
