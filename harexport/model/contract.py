"""The contract: inputs and outputs of a model, from sampling rate to labels.

The same JSON is beside every artifact and inside every exported file; runners, the Android app and third-party code
read it from there.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from harexport.errors import InputError

CONTRACT_VERSION = 2  # written for contracts with a frame; those without stay files of version 1
_VERSION_WITHOUT_FRAME = 1
_VERSION_WITH_STREAM = 3  # with or without a frame
MOUNT_STAGE = "one rotation of acceleration and angular velocity into the frame, before the filters"
INPUT_NAME = "window"
STATE_NAME, NEW_STATE_NAME = "state", "new_state"  # input and output of a stream
LOGITS_NAME = "logits"
PROBABILITIES_NAME = "probabilities"
COARSE_LOGITS_NAME, COARSE_PROBABILITIES_NAME = f"coarse_{LOGITS_NAME}", f"coarse_{PROBABILITIES_NAME}"
CONTRACT_KEY = "contract"  # of the metadata in exported files
_MAX_RATE_HZ = 100_000.0
_MAX_SAMPLES = 1_000_000  # of a window, a hop or a median filter
_MAX_ORDER = 24  # of a Butterworth filter: higher orders are unstable in float64
_MAX_NAME_LENGTH = 200

CHANNELS = (
    "body_acc_x", "body_acc_y", "body_acc_z",
    "body_gyro_x", "body_gyro_y", "body_gyro_z",
    "total_acc_x", "total_acc_y", "total_acc_z",
)  # fmt: skip
LABELS = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")


def _check_integer(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{what} must be a whole number from {low} to {high:,}, got {_shorten(value)}")


def _check_number(what: str, value: float, high: float) -> None:
    if not 0.0 < value <= high:  # also false for NaN
        raise InputError(f"{what} must be above 0 and at most {high:,.0f}, got {_shorten(value)}")


def _check_names(what: str, names: tuple[str, ...]) -> None:
    is_usable = all(name.strip() and name.isprintable() and len(name) <= _MAX_NAME_LENGTH for name in names)
    if not names or len(set(names)) < len(names) or not is_usable:
        raise InputError(f"the {what} must be distinct printable names of one line, got {_shorten(list(names))}")


@dataclass(frozen=True)
class Lowpass:
    """A causal Butterworth low-pass. Raises InputError for an impossible order or cutoff."""

    order: int
    cutoff_hz: float

    def __post_init__(self) -> None:
        _check_integer("a filter's order", self.order, 1, _MAX_ORDER)
        _check_number("a filter's cutoff_hz", self.cutoff_hz, _MAX_RATE_HZ)


@dataclass(frozen=True)
class FilterChain:
    """The filters of UCI HAR's preprocessing (run by preprocessing/filters.py).

    All channels pass a median filter and the low-pass `noise`. The body channels then subtract a slower low-pass of
    the result.
    """

    median: int = 3  # samples
    noise: Lowpass = Lowpass(order=10, cutoff_hz=20.0)
    gravity: Lowpass = Lowpass(order=3, cutoff_hz=0.3)  # subtracted from the acceleration
    drift: Lowpass = Lowpass(order=2, cutoff_hz=0.1)  # subtracted from the angular velocity

    def __post_init__(self) -> None:
        _check_integer("the median filter", self.median, 1, _MAX_SAMPLES)


@dataclass(frozen=True)
class Frame:
    """The axes in which a model expects acceleration and angular velocity.

    A contract with a frame has a mount stage: one rotation of all samples into these axes, before the filters (see
    preprocessing/mount.py). A contract without one expects the axes of the phone as worn for the training data.

    Attributes:
        gravity: The axis along which the accelerometer reads +1 g while the person stands.
        heading: "free" where any rotation about that axis gives the same predictions, to within the model's accuracy;
            "fixed" where the phone must be worn as for the training data.
    """

    gravity: str = "+x"
    heading: str = "free"

    def __post_init__(self) -> None:
        if self.gravity != "+x" or self.heading not in ("free", "fixed"):
            raise InputError(
                f"the contract has an unknown frame (gravity {self.gravity!r}, heading {self.heading!r}). Known are "
                "gravity '+x' with heading 'free' or 'fixed'; a newer harexport may know this one"
            )


@dataclass(frozen=True)
class Stream:
    """The explicit state of a model that reads a part of a window per run.

    The model also has an input `state` float32 [1, state_size], which is 0 before the first part, and an output
    `new_state`, which is the state for the next part. Parts start `Contract.hop` samples apart.
    """

    steps: int  # of the recurrent layers per run
    runs: int  # per window of the network
    state_size: int

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            _check_integer(f"stream.{name}", value, 1, _MAX_SAMPLES)


@dataclass(frozen=True)
class Contract:
    """Input and output of a model. Raises InputError for values that no model can have.

    The input tensor `window` is float32 [1, window, len(channels)] in physical units; the graph normalizes it. The
    outputs `logits` and `probabilities` are float32 [1, len(labels)]. A model with a second head also has
    `coarse_logits` and `coarse_probabilities`.
    """

    rate_hz: float = 50.0
    window: int = 128  # samples
    hop: int = 64  # samples between the starts of two windows of a stream
    channels: tuple[str, ...] = CHANNELS
    units: tuple[str, ...] = ("g",) * 3 + ("rad/s",) * 3 + ("g",) * 3  # one per channel
    labels: tuple[str, ...] = LABELS  # in the order of the logits
    filters: FilterChain = FilterChain()
    coarse_labels: tuple[str, ...] = ()  # in the order of the coarse logits; an empty one never occurs
    frame: Frame | None = None
    stream: Stream | None = None

    def __post_init__(self) -> None:
        _check_number("rate_hz", self.rate_hz, _MAX_RATE_HZ)
        _check_integer("window", self.window, 1, _MAX_SAMPLES)
        _check_integer("hop", self.hop, 1, _MAX_SAMPLES)
        _check_names("channels", self.channels)
        _check_names("labels", self.labels)
        if len(self.units) != len(self.channels):
            raise InputError(f"a contract needs a unit per channel, got {len(self.units)} for {len(self.channels)}")

    @property
    def outputs(self) -> dict[str, tuple[str, ...]]:
        """The output tensors in their order, each with its labels."""
        fine = dict.fromkeys((LOGITS_NAME, PROBABILITIES_NAME), self.labels)
        coarse = dict.fromkeys((COARSE_LOGITS_NAME, COARSE_PROBABILITIES_NAME), self.coarse_labels)
        return fine | (coarse if self.coarse_labels else {})

    def to_dict(self) -> dict[str, Any]:
        """Return the contract as plain JSON values, with names and shapes of the tensors."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        if not self.coarse_labels:
            del plain["coarse_labels"]  # as in files written before there were any
        version = CONTRACT_VERSION
        if self.frame is None:
            del plain["frame"]
            version = _VERSION_WITHOUT_FRAME
        else:
            plain["mount"] = MOUNT_STAGE
        if self.stream is None:
            del plain["stream"]
        else:
            version = _VERSION_WITH_STREAM
            plain["stream"] |= {"input": STATE_NAME, "output": NEW_STATE_NAME, "initial": 0.0}
        tensors = {
            "input": {"name": INPUT_NAME, "shape": [1, self.window, len(self.channels)], "dtype": "float32"},
            "outputs": [
                {"name": name, "shape": [1, len(labels)], "dtype": "float32"} for name, labels in self.outputs.items()
            ],
        }
        return {"contract_version": version, **plain, **tensors, "normalisation": "inside the graph"}

    @staticmethod
    def from_dict(value: Any, where: str) -> Contract:
        """Read the result of `to_dict`.

        Args:
            value: Plain JSON values.
            where: The source in error messages.

        Raises:
            InputError: It is no contract of a known version, or a value is missing or impossible.
        """
        versions = (_VERSION_WITHOUT_FRAME, CONTRACT_VERSION, _VERSION_WITH_STREAM)
        version = value.get("contract_version") if isinstance(value, dict) else None
        if type(version) is not int or version not in versions:
            raise InputError(f"{where}: not a harexport contract of a version from {versions[0]} to {versions[-1]}")
        has_frame = version == CONTRACT_VERSION or (version == _VERSION_WITH_STREAM and "frame" in value)
        frame = _frame(value, where) if has_frame else None
        try:
            stream = value["stream"] if version == _VERSION_WITH_STREAM else None
            filters = value["filters"]
            return Contract(
                rate_hz=_real(value["rate_hz"]),
                window=_whole(value["window"]),
                hop=_whole(value["hop"]),
                channels=_strings(value["channels"]),
                units=_strings(value["units"]),
                labels=_strings(value["labels"]),
                filters=FilterChain(
                    median=_whole(filters["median"]),
                    **{
                        key: Lowpass(_whole(filters[key]["order"]), _real(filters[key]["cutoff_hz"]))
                        for key in ("noise", "gravity", "drift")
                    },
                ),
                coarse_labels=_strings(value.get("coarse_labels", [])),
                frame=frame,
                stream=stream and Stream(*(_whole(stream[key]) for key in ("steps", "runs", "state_size"))),
            )
        except InputError as error:
            raise InputError(f"{where}: the contract is invalid: {error}") from None
        except KeyError as error:
            raise InputError(f"{where}: the contract lacks {error}") from None
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: the contract is invalid: {error}") from None


def are_vectors(channels: tuple[str, ...]) -> bool:
    """Return whether the channels are x, y, z of one vector after another, which rotations need."""
    vectors = [channel.removesuffix("_x") for channel in channels[::3]]
    return channels == tuple(f"{vector}_{axis}" for vector in vectors for axis in "xyz")


def gravity_channels(channels: tuple[str, ...]) -> list[int] | None:
    """Return the positions of total_acc_x, y, z; None unless there are all of them."""
    names = [f"total_acc_{axis}" for axis in "xyz"]
    return [channels.index(name) for name in names] if set(names) <= set(channels) else None


def _frame(value: dict[str, Any], where: str) -> Frame:
    frame = value.get("frame")
    if not isinstance(frame, dict):
        raise InputError(f"{where}: the contract of version {CONTRACT_VERSION} has no frame")
    try:
        return Frame(str(frame.get("gravity")), str(frame.get("heading")))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _real(value: Any) -> float:
    """A JSON number as a float. Raises TypeError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {_shorten(value)}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _whole(value: Any) -> int:
    """A JSON number as an int. Raises TypeError."""
    number = _real(value)
    if not number.is_integer():
        raise TypeError(f"expected a whole number, got {_shorten(value)}")
    return int(number)


def _strings(value: Any) -> tuple[str, ...]:
    """A JSON list of strings. Raises TypeError."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"expected a list of strings, got {_shorten(value)}")
    return tuple(value)


def _shorten(value: Any) -> str:
    """The value for a message, at most 60 characters."""
    if isinstance(value, int) and abs(value) >= 10**20:  # Python refuses to format integers of 4300 digits and more
        return "a huge number"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
