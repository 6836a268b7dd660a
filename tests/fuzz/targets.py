"""Parsers and readers that are fuzzed, each with valid inputs.

A target is a function of bytes. It may raise HarExportError; every other exception is a finding.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harexport.bench.result import SCHEMA
from harexport.bench.thresholds import load_baseline
from harexport.data.custom.config import load_config, match_pattern
from harexport.data.custom.dataset import load_custom_dataset
from harexport.data.dataset import Dataset
from harexport.data.recordings.csv_format import Units
from harexport.data.recordings.reader import read_recordings
from harexport.data.recordings.sensors import resolve_sensors
from harexport.data.splits import check_split, describe_split
from harexport.data.uci_har import reader as uci_har
from harexport.exporters import onnx as onnx_exporter
from harexport.exporters import tflite as tflite_exporter
from harexport.formats import read_model
from harexport.formats.macs import count_macs
from harexport.formats.structure import to_structure
from harexport.importers.onnx import load_onnx
from harexport.model import checkpoint as checkpoints
from harexport.model import recipe as recipes
from harexport.model.checkpoint import Checkpoint
from harexport.model.contract import Contract
from harexport.model_selection.search_space import make_variants
from harexport.model_selection.trials import Trial, TrialCache, TrialResult
from harexport.predict.mounting import AS_WORN, MountOption
from harexport.predict.stream import predict_stream, read_lines
from harexport.preprocessing.resampler import SECOND
from harexport.preprocessing.stream import GYRO
from harexport.runtimes.model import Model
from harexport.runtimes.sandbox import read_sandboxed
from harexport.utils.files import parse_json
from tests.helpers import uci_har as uci_har_files
from tests.helpers.networks import contract_of, random_gru, random_network

_FOREIGN = Path(__file__).parents[1] / "inspection" / "foreign"
_SEPARATOR = b"\n=== "  # before the name of the next file of a folder


@dataclass(frozen=True)
class Target:
    """A parser or reader.

    Attributes:
        seeds: Builds valid inputs.
        run: Reads an input.
        share: Relative number of inputs in a long run: slow targets get fewer.
    """

    seeds: Callable[[], tuple[bytes, ...]]
    run: Callable[[bytes], object]
    share: float = 1.0


@cache
def _folder() -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="harexport-fuzz-", dir=memory if memory.is_dir() else None))


def _write(data: bytes, name: str) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def clean_up() -> None:
    """Delete the temporary files."""
    shutil.rmtree(_folder(), ignore_errors=True)
    _folder.cache_clear()


@cache
def _network() -> Any:
    return random_network(units=4, hidden=(4,), frame=16, hop=16)


@cache
def _contract() -> Contract:
    return contract_of(_network())


@cache
def _acc_contract() -> Contract:
    return _dataset().select_channels(tuple(name for name in Contract().channels if "acc" in name)).contract


# Recordings


def _rows(seconds: float = 3.0, rate_hz: float = 50.0) -> list[list[float]]:
    """[n] rows of time in s, acceleration in m/s2 and angular velocity in rad/s."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    random = np.random.default_rng(0)
    swing = np.sin(2 * np.pi * 1.9 * times[:, None] + np.arange(3))
    acc = np.array([9.6, -1.4, -0.9]) + 4 * swing + random.normal(0, 0.2, (len(times), 3))
    gyro = 2 * swing + random.normal(0, 0.05, (len(times), 3))
    return [[float(t), *map(float, a), *map(float, g)] for t, a, g in zip(times, acc, gyro, strict=True)]


def _table(header: str, row: Callable[[list[float]], list[object]], delimiter: str = ",") -> bytes:
    lines = [header, *(delimiter.join(map(str, row(values))) for values in _rows())]
    return "\n".join([*lines, ""]).encode()


def _short(values: list[float]) -> list[object]:
    return [f"{value:.4f}" for value in values]


_PLAIN = "timestamp_s,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z"


def _csv_seeds() -> tuple[bytes, ...]:
    plain = _table(_PLAIN, _short)
    labeled = _table(f"{_PLAIN},activity", lambda v: [*_short(v), "WALKING" if v[0] > 1 else "STANDING"])
    dates = _table(
        "Timestamp,Milliseconds,ax,ay,az,gx,gy,gz",
        lambda v: [f"2024-01-15 10:30:{int(v[0]):02d}", round(v[0] % 1 * 1000), *_short(v[1:])],
    )
    return (
        plain,
        labeled,
        dates,
        b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n"),
        b"sep=;\n" + plain.replace(b",", b";").replace(b".", b","),
        b"# recorded\n" + plain,
        _table("timestamp,accX,accY,accZ", lambda v: [f"2024-01-15T10:30:{v[0]:06.3f}Z", *_short(v[1:4])]),
        _table(
            "time of day,AccX_mg,AccY_mg,AccZ_mg", lambda v: [f"10:30:{v[0]:06.3f}", *_short([100 * a for a in v[1:4]])]
        ),
        _table("timestamp_ms,acc_x,acc_y,acc_z,subject", lambda v: [round(1000 * v[0]), *_short(v[1:4]), "anna"]),
        _table("timestamp_s acc_x acc_y acc_z", lambda v: _short(v[:4]), " "),
        _table(
            "Time (s),Acceleration x (m/s^2),Acceleration y (m/s^2),Acceleration z (m/s^2)", lambda v: _short(v[:4])
        ),
    )


def _sensor_logger(values: slice) -> bytes:
    return _table(
        "time,seconds_elapsed,z,y,x",
        lambda v: [1_700_000_000_000_000_000 + round(v[0] * SECOND), *_short([v[0], *v[values][::-1]])],
    )


def _bundle(files: dict[str, bytes]) -> bytes:
    return b"".join(_SEPARATOR + name.encode() + b"\n" + content for name, content in files.items())


def _unpack(data: bytes, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for part in data.split(_SEPARATOR)[:8]:
        name, _, content = part.partition(b"\n")
        safe = "".join(c for c in name.decode("utf-8", "replace") if c.isprintable() and c not in "/\\")[:100]
        if safe.strip(". "):
            (folder / safe).write_bytes(content)
    return folder


def _bundle_seeds() -> tuple[bytes, ...]:
    acc, gyro, gravity, linear = (_sensor_logger(slice(k, k + 3)) for k in (1, 4, 1, 4))
    metadata = (
        b"version,device name,recording epoch time,platform,appVersion,standardisation\n"
        b"3,phone,1700000000000,%s,1.50,false\n"
    )
    annotation = (
        b"time,seconds_elapsed,text,millisecond_press_duration\n1700000000500000000,0.5,STANDING,0\n"
        b"1700000001500000000,1.5,WALKING,0\n"
    )
    wrist = _table(
        "time,seconds_elapsed,rotationRateX,rotationRateY,rotationRateZ,gravityX,gravityY,gravityZ,accelerationX,"
        "accelerationY,accelerationZ",
        lambda v: [1_700_000_000_000_000_000 + round(v[0] * SECOND), *_short([v[0], *v[4:], -1.0, 0.1, 0.1, *v[4:]])],
    )
    phyphox = [
        _table(
            f"Time (s),{name} x ({unit}),{name} y ({unit}),{name} z ({unit})",
            lambda v, k=k: _short([v[0], *v[k : k + 3]]),
        )
        for k, name, unit in ((1, "Acceleration", "m/s^2"), (4, "Gyroscope", "rad/s"))
    ]
    android = {"Accelerometer.csv": linear, "Gravity.csv": gravity, "Gyroscope.csv": gyro}
    return (
        _bundle({"TotalAcceleration.csv": acc, "Gyroscope.csv": gyro, "Metadata.csv": metadata % b"android"}),
        _bundle({**android, "Metadata.csv": metadata % b"ios", "Annotation.csv": annotation}),
        _bundle({"WristMotion.csv": wrist, "Metadata.csv": metadata % b"ios"}),
        _bundle({"Accelerometer.csv": phyphox[0], "Gyroscope.csv": phyphox[1]}),
        _bundle({"a.csv": _csv_seeds()[0], "b.csv": _csv_seeds()[1]}),
    )


def _zip(files: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _zip_seeds() -> tuple[bytes, ...]:
    short = b"\n".join(_csv_seeds()[0].split(b"\n")[:60])
    return (
        _zip(
            {"rec/TotalAcceleration.csv": _sensor_logger(slice(1, 4)), "rec/Gyroscope.csv": _sensor_logger(slice(4, 7))}
        ),
        _zip({"a.csv": short, "sub/b.csv": short}, zipfile.ZIP_STORED),
        _zip({"a.csv": short}, zipfile.ZIP_LZMA),
        _zip({"a.csv": short}, zipfile.ZIP_BZIP2),
    )


def _read_recordings(path: Path) -> None:
    for recording in read_recordings(path):
        contract = Contract() if GYRO in recording.tracks else _acc_contract()
        resolve_sensors(recording.tracks, contract, Units(gyro="rad/s"), recording.where)
        recording.label_between(0, 1 << 62)
        str(recording.labels[:3])


class _ConstantRunner:
    """A runner that predicts the same for every window."""

    name, runtime, window_shape, batch = "constant", "none", (128, 9), None
    metadata: ClassVar[dict[str, str]] = {}

    def logits(self, windows: Any) -> Any:
        return np.tile(np.arange(6, dtype=np.float32), (len(windows), 1))

    run_batch = logits


def _follow(data: bytes) -> None:
    model, units = Model("constant", _ConstantRunner(), Contract()), Units(gyro="rad/s")
    for _ in predict_stream(read_lines(io.BytesIO(data)), model, units, "exponential", MountOption(AS_WORN)):
        pass


# Settings


_TOML = b"""rate_hz = 50
window = 100
hop = 50
sensors = ["accelerometer", "gyroscope"]
labels = ["sit", "walk"]
subject_pattern = "{subject}_*.csv"
label_pattern = "*_{label}.csv"
test_subjects = ["ben"]
validation_subjects = ["anna"]
[columns]
time = "t"
acc = ["ax", "ay", "az"]
gyro = ["gx", "gy", "gz"]
[units]
time = "ms"
acc = "m/s2"
gyro = "deg/s"
[filters]
median = 3
noise = {order = 3, cutoff_hz = 20}
gravity = {order = 3, cutoff_hz = 0.3}
[subjects]
"x.csv" = "anna"
"""


def _dataset_seeds() -> tuple[bytes, ...]:
    toml = (
        b'rate_hz = 50\nwindow = 50\nhop = 25\nsensors = ["accelerometer"]\nlabels = ["sit", "walk"]\n'
        b'subject_pattern = "{subject}_*.csv"\nlabel_pattern = "*_{label}.csv"\ntest_subjects = ["ben"]\n'
    )
    recording = b"\n".join(b",".join(line.split(b",")[:4]) for line in _csv_seeds()[0].split(b"\n"))
    names = ("anna_sit.csv", "anna_walk.csv", "ben_sit.csv", "ben_walk.csv")
    files = {name: recording.replace(b",9.", b",9.%d" % k) for k, name in enumerate(names)}
    return (_bundle({"harexport.toml": toml, **files}),)


def _recipe_seeds() -> tuple[bytes, ...]:
    return tuple(json.dumps(recipes.load(name).to_dict()).encode() for name in recipes.list_shipped())


def _json_recipe(data: bytes) -> None:
    recipes.parse(parse_json(data.decode("utf-8", "replace"), "recipe"), "recipe")


def _recipe_toml(data: bytes) -> None:
    recipes.load(str(_write(data, "recipe.toml")))


def _toml_seeds() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted((Path(recipes.__file__).parents[1]).rglob("*.toml")))


def _contract_json(data: bytes) -> None:
    contract = Contract.from_dict(parse_json(data.decode("utf-8", "replace"), "contract"), "contract.json")
    Contract.from_dict(contract.to_dict(), "contract.json")


def _grid(data: bytes) -> None:
    make_variants(recipes.load("edge-tiny"), data.decode("utf-8", "replace").split("\n")[:3], 3)


def _pattern(data: bytes) -> None:
    pattern, _, path = data.decode("utf-8", "replace").partition("\n")
    match_pattern(pattern, "{subject}", path)


# Models and checkpoints


@cache
def _checkpoint_bytes() -> bytes:
    checkpoint = Checkpoint(_network(), _contract(), recipes.load("edge-tiny"), seed=0)
    path = _folder() / "seed.safetensors"
    checkpoints.save(checkpoint, path)
    return path.read_bytes()


def _checkpoint(data: bytes) -> None:
    checkpoints.load(_write(data, "checkpoint.safetensors"))


def _header_seeds() -> tuple[bytes, ...]:
    content = _checkpoint_bytes()
    length = int.from_bytes(content[:8], "little")
    return (json.loads(content[8 : 8 + length])["__metadata__"]["harexport"].encode(),)


def _checkpoint_header(data: bytes) -> None:
    from safetensors.numpy import save

    text = data.decode("utf-8", "replace")
    arrays = {name: np.ascontiguousarray(values, np.float32) for name, values in _network().arrays().items()}
    _checkpoint(save(arrays, metadata={"harexport": text}))


def _tflite_seeds() -> tuple[bytes, ...]:
    ours = (
        tflite_exporter.build(_network(), _contract(), {"scheme": "float32"}, lowering)
        for lowering in ("fused", "unrolled")
    )
    return (*ours, *(path.read_bytes() for path in sorted(_FOREIGN.glob("*.tflite"))))


def _onnx_seeds() -> tuple[bytes, ...]:
    gru = random_gru(units=4, hidden=(4,))
    ours = [onnx_exporter.build(network, contract_of(network), {}) for network in (_network(), gru)]
    return (*ours, *(path.read_bytes() for path in sorted(_FOREIGN.glob("*.onnx"))))


def _model_file(name: str) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        file = read_model(data, name, _folder(), checked=(None, b""))
        count_macs(file)
        to_structure(file)

    return read


def _sandbox(name: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        read_sandboxed(data, name, _folder() / name)

    return run


def _load(name: str) -> Callable[[bytes], None]:
    import harexport

    def load(data: bytes) -> None:
        harexport.load(_write(data, name))

    return load


def _import(data: bytes) -> None:
    load_onnx(_write(data, "import.onnx"))


# Reports and results


def _baseline_seeds() -> tuple[bytes, ...]:
    latency = {"min": 1.0, "p50": 2.0, "p90": 3.0, "p99": 4.0, "low": 1.9, "high": 2.1}
    model = {
        "name": "m.tflite", "file": "m.tflite", "calibration_error": 0.1, "arena_bytes": 10,
        "size_bytes": 10, "macs": 5,
        "figures": {"accuracy": 0.9, "macro_f1": 0.9, "label_recall": [0.9, 0.8]}, "instructions": None,
        "comparison": {"agreement": 1.0, "max_logit_difference": 0.1, "p_value": 1.0}, "latency": latency,
        "ratio": {"value": 1.0, "low": 0.9, "high": 1.1}, "throughput": [{"windows_per_second": 10.0}],
        "cold_start": {"load_ms": 1.0, "first_prediction_ms": 1.0, "peak_bytes": 100},
    }  # fmt: skip
    content = {
        "schema": SCHEMA, "models": [model], "labels": ["a", "b"], "machine": {"processor": "p"},
        "target": {"kind": "host"}, "data": {"digest": "d"},
    }  # fmt: skip
    return (json.dumps(content).encode(),)


def _baseline(data: bytes) -> None:
    load_baseline(_write(data, "bench.json"), ("a", "b"))


@cache
def _dataset() -> Dataset:
    return uci_har.read_dataset(uci_har_files.write(_folder()))


def _split_seeds() -> tuple[bytes, ...]:
    return (json.dumps(describe_split(_dataset())).encode(),)


def _split(data: bytes) -> None:
    check_split(_dataset(), parse_json(data.decode("utf-8", "replace"), "split"), "model")


def _uci_har_seeds() -> tuple[bytes, ...]:
    folder = uci_har_files.write(_folder())
    return (uci_har_files.zipped(folder), uci_har_files.zipped(folder, nested=True))


def _uci_har(data: bytes) -> None:
    uci_har.read_dataset(_write(data, "uci.zip"))


@cache
def _trials() -> tuple[TrialCache, Trial]:
    return TrialCache(_folder(), _dataset()), Trial(recipes.load("edge-tiny"), (1,), 0)


def _trial_path() -> Path:
    trials, trial = _trials()
    return trials._path(trial)


def _trial_seeds() -> tuple[bytes, ...]:
    trials, trial = _trials()
    trials.add(trial, TrialResult(None, {}, (), "diverged", 1.0))
    failed = _trial_path().read_bytes()
    scores = {"windows": 5, "accuracy": 0.9, "macro_f1": 0.8, "cross_entropy": 0.3}
    stored = json.loads(failed)
    stored["outcome"] |= {"scores": scores, "subjects": {"1": scores}, "confusion": [[3, 0], [1, 1]], "error": None}
    return (failed, json.dumps(stored).encode())


def _trial(data: bytes) -> None:
    trials, trial = _trials()
    _trial_path().write_bytes(data)
    trials.find(trial)


TARGETS = {
    "recording-csv": Target(_csv_seeds, lambda data: _read_recordings(_write(data, "walk.csv"))),
    "recording-folder": Target(_bundle_seeds, lambda data: _read_recordings(_unpack(data, _folder() / "rec")), 0.5),
    "recording-zip": Target(_zip_seeds, lambda data: _read_recordings(_write(data, "rec.zip"))),
    "recording-stream": Target(lambda: tuple(seed for seed in _csv_seeds() if b"gyro" in seed[:200]), _follow, 0.2),
    "custom-dataset": Target(_dataset_seeds, lambda data: load_custom_dataset(_unpack(data, _folder() / "data")), 0.2),
    "harexport.toml": Target(lambda: (_TOML,), lambda data: load_config(_write(data, "harexport.toml")), 3),
    "patterns": Target(lambda: (b"data/{subject}/*_?.csv\ndata/anna/walk_1.csv",), _pattern, 15),
    "recipe-toml": Target(_toml_seeds, _recipe_toml, 2),
    "recipe-json": Target(_recipe_seeds, _json_recipe, 20),
    "grid": Target(lambda: (b"optimizer.learning_rate=0.001..0.01\nmodel.hidden=16,8",), _grid, 0.5),
    "contract.json": Target(
        lambda: (json.dumps(_contract().to_dict()).encode(), json.dumps(Contract().to_dict()).encode()),
        _contract_json,
        25,
    ),
    "checkpoint": Target(lambda: (_checkpoint_bytes(),), _checkpoint, 15),
    "checkpoint-header": Target(_header_seeds, _checkpoint_header, 2),
    "split": Target(_split_seeds, _split, 20),
    "trial": Target(_trial_seeds, _trial, 0.5),
    "baseline": Target(_baseline_seeds, _baseline, 20),
    "uci-har-zip": Target(_uci_har_seeds, _uci_har),
    "tflite-reader": Target(_tflite_seeds, _model_file("model.tflite")),
    "onnx-reader": Target(_onnx_seeds, _model_file("model.onnx"), 4),
    "onnx-importer": Target(_onnx_seeds, _import),
    "tflite-sandbox": Target(_tflite_seeds, _sandbox("model.tflite"), 0.2),
    "onnx-sandbox": Target(_onnx_seeds, _sandbox("model.onnx"), 0.2),
    "tflite-load": Target(_tflite_seeds, _load("load.tflite"), 0.2),
    "onnx-load": Target(_onnx_seeds, _load("load.onnx"), 0.2),
}
