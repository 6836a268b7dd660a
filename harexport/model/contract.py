"""What a model expects and answers, in one place.

The same JSON stands beside every artifact and inside every exported file; whoever feeds the model
(our runners, the Android demo, other people's code) reads it instead of typing numbers twice.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from harexport.errors import InputError

CONTRACT_VERSION = 2  # written for contracts with a frame; those without stay files of version 1
_VERSION_WITHOUT_FRAME = 1
MOUNT_STAGE = "one rotation of acceleration and angular velocity into the frame, before the filters"
INPUT_NAME = "window"
LOGITS_NAME = "logits"
PROBABILITIES_NAME = "probabilities"
COARSE_LOGITS_NAME, COARSE_PROBABILITIES_NAME = f"coarse_{LOGITS_NAME}", f"coarse_{PROBABILITIES_NAME}"

CHANNELS = (
    "body_acc_x", "body_acc_y", "body_acc_z",
    "body_gyro_x", "body_gyro_y", "body_gyro_z",
    "total_acc_x", "total_acc_y", "total_acc_z",
)  # fmt: skip
LABELS = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")


@dataclass(frozen=True)
class Lowpass:
    """A causal Butterworth low-pass of the preprocessing; cutoff in Hz."""

    order: int
    cutoff_hz: float


@dataclass(frozen=True)
class FilterChain:
    """The official preprocessing (see signals/chain.py, which runs it).

    `median` samples of median filter, then `noise`; the body channels additionally subtract the
    `gravity` (acceleration) and `drift` (gyroscope) low-passes of the result.
    """

    median: int = 3
    noise: Lowpass = Lowpass(order=10, cutoff_hz=20.0)
    gravity: Lowpass = Lowpass(order=3, cutoff_hz=0.3)
    drift: Lowpass = Lowpass(order=2, cutoff_hz=0.1)


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
class Contract:
    """Input and output of a model.

    The input tensor `window` is float32 [1, window, len(channels)] in physical units (`units`, one a
    channel), sampled at `rate_hz`; a stream hands over a window every `hop` samples. The outputs are
    `logits` and `probabilities`, float32 [1, len(labels)], in the order of `labels`.
    Normalisation is inside the graph. A model with a second head answers `coarse_logits` and
    `coarse_probabilities` too, in the order of `coarse_labels`; an empty coarse label never occurs.
    """

    rate_hz: float = 50.0
    window: int = 128
    hop: int = 64
    channels: tuple[str, ...] = CHANNELS
    units: tuple[str, ...] = ("g",) * 3 + ("rad/s",) * 3 + ("g",) * 3
    labels: tuple[str, ...] = LABELS
    filters: FilterChain = FilterChain()
    coarse_labels: tuple[str, ...] = ()
    frame: Frame | None = None

    def __post_init__(self) -> None:
        for what, names in (("labels", self.labels), ("channels", self.channels)):
            if len(set(names)) < len(names) or not all(name.strip() and name.isprintable() for name in names):
                raise InputError(f"the {what} of a contract must be different words of one line, got {list(names)}")

    @property
    def outputs(self) -> dict[str, tuple[str, ...]]:
        """The output tensors in their order, each with its labels."""
        fine = dict.fromkeys((LOGITS_NAME, PROBABILITIES_NAME), self.labels)
        coarse = dict.fromkeys((COARSE_LOGITS_NAME, COARSE_PROBABILITIES_NAME), self.coarse_labels)
        return fine | (coarse if self.coarse_labels else {})

    def to_dict(self) -> dict[str, Any]:
        """The contract as plain JSON values, tensor names and shapes included."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        if not self.coarse_labels:
            del plain["coarse_labels"]  # files from before there were any say the same
        version = CONTRACT_VERSION
        if self.frame is None:
            del plain["frame"]
            version = _VERSION_WITHOUT_FRAME
        else:
            plain["mount"] = MOUNT_STAGE
        tensors = {
            "input": {"name": INPUT_NAME, "shape": [1, self.window, len(self.channels)], "dtype": "float32"},
            "outputs": [
                {"name": name, "shape": [1, len(labels)], "dtype": "float32"} for name, labels in self.outputs.items()
            ],
        }
        return {"contract_version": version, **plain, **tensors, "normalisation": "inside the graph"}

    @staticmethod
    def from_dict(value: Any, where: str) -> Contract:
        """Read what `to_dict` wrote; `where` names the source in errors. Raises InputError."""
        versions = (_VERSION_WITHOUT_FRAME, CONTRACT_VERSION)
        if not isinstance(value, dict) or value.get("contract_version") not in versions:
            raise InputError(f"{where}: not a harexport contract of version {versions[0]} or {versions[1]}")
        frame = _frame(value, where) if value["contract_version"] == CONTRACT_VERSION else None
        try:
            filters = value["filters"]
            contract = Contract(
                rate_hz=float(value["rate_hz"]),
                window=int(value["window"]),
                hop=int(value["hop"]),
                channels=tuple(str(name) for name in value["channels"]),
                units=tuple(str(unit) for unit in value["units"]),
                labels=tuple(str(label) for label in value["labels"]),
                filters=FilterChain(
                    median=int(filters["median"]),
                    **{key: Lowpass(**filters[key]) for key in ("noise", "gravity", "drift")},
                ),
                coarse_labels=tuple(str(label) for label in value.get("coarse_labels", ())),
                frame=frame,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: the contract lacks or misstates {error}") from error
        positive = all(0 < size < float("inf") for size in (contract.rate_hz, contract.window, contract.hop))
        if len(contract.units) != len(contract.channels) or not positive:
            raise InputError(f"{where}: the contract's rate, window, hop, channels and units do not fit together")
        return contract


def _frame(value: dict[str, Any], where: str) -> Frame:
    frame = value.get("frame")
    if not isinstance(frame, dict):
        raise InputError(f"{where}: the contract of version {CONTRACT_VERSION} has no frame")
    try:
        return Frame(str(frame.get("gravity")), str(frame.get("heading")))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


CONTRACT_KEY = "contract"
