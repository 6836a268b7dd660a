"""The layers of a recipe: one entry of `[[model.layers]]` each."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Units = Annotated[int, Meta(ge=1, le=4096, description="number of outputs")]
Steps = Annotated[int, Meta(ge=1, le=10_000)]
ActivationName = Literal["none", "relu", "tanh", "sigmoid", "leaky_relu", "elu", "gelu"]
Direction = Annotated[
    Literal["forward", "backward", "both"],
    Meta(description="direction in time; both: the outputs of two layers side by side"),
]
Last = Annotated[bool, Meta(description="return the last state of each direction instead of all states")]


class _Layer(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class Conv1dConfig(_Layer, frozen=True, tag="conv1d"):
    """Convolution over time. With kernel and stride 1 it is a linear layer on every step."""

    channels: Units
    kernel: Annotated[Steps, Meta(description="steps that each output reads")]
    stride: Annotated[Steps, Meta(description="steps from one output to the next")] = 1
    padding: Annotated[int, Meta(ge=0, le=10_000, description="zeros before and after the sequence")] = 0
    dilation: Annotated[Steps, Meta(description="distance of the steps that an output reads")] = 1
    activation: Annotated[ActivationName, Meta(description="activation of the output")] = "none"


class LinearConfig(_Layer, frozen=True, tag="linear"):
    """Linear layer, on every step of a sequence or on a vector."""

    units: Units
    activation: Annotated[ActivationName, Meta(description="activation of the output")] = "none"


class ActivationConfig(_Layer, frozen=True, tag="activation"):
    """Activation, where none of the other layers has it."""

    function: Annotated[ActivationName, Meta(description="the function")]


class BatchNormConfig(_Layer, frozen=True, tag="batch_norm"):
    """Batch normalization per channel, with the stored statistics at inference."""


class DropoutConfig(_Layer, frozen=True, tag="dropout"):
    """Dropout."""

    rate: Annotated[float, Meta(ge=0, le=0.95, description="share of the values set to 0 in training")]


class MaxPoolConfig(_Layer, frozen=True, tag="max_pool"):
    """Maximum over windows of steps."""

    kernel: Annotated[Steps, Meta(description="steps per window, and from one window to the next")]


class AveragePoolConfig(_Layer, frozen=True, tag="average_pool"):
    """Mean over windows of steps."""

    kernel: Annotated[Steps, Meta(description="steps per window, and from one window to the next")]


class LstmConfig(_Layer, frozen=True, tag="lstm"):
    """LSTM layer."""

    units: Units
    direction: Direction = "forward"
    last: Last = False
    forget_bias: Annotated[float, Meta(description="constant added to the forget gate; not trained")] = 1.0


class GruConfig(_Layer, frozen=True, tag="gru"):
    """GRU layer."""

    units: Units
    direction: Direction = "forward"
    last: Last = False
    reset_after: Annotated[
        bool,
        Meta(description="apply the reset gate after the matrix product, as PyTorch and Keras; else before it"),
    ] = True
    candidate: Annotated[
        Literal["tanh", "relu"], Meta(description="activation of the candidate state; relu without reset_after only")
    ] = "tanh"


class LastStepConfig(_Layer, frozen=True, tag="last_step"):
    """The last step of a sequence."""


class MeanConfig(_Layer, frozen=True, tag="mean"):
    """Mean over time."""


class MaxConfig(_Layer, frozen=True, tag="max"):
    """Maximum over time."""


class FlattenConfig(_Layer, frozen=True, tag="flatten"):
    """All values of a sequence as a vector."""


class SumConfig(_Layer, frozen=True, tag="sum"):
    """Sum of branches with the same input."""

    branches: Annotated[
        tuple[tuple[LayerConfig, ...], ...], Meta(description="lists of layers; an empty list is the input itself")
    ]


class ConcatConfig(_Layer, frozen=True, tag="concat"):
    """Concatenation of the channels of branches with the same input."""

    branches: Annotated[
        tuple[tuple[LayerConfig, ...], ...], Meta(description="lists of layers; an empty list is the input itself")
    ]


LayerConfig = (
    Conv1dConfig
    | LinearConfig
    | ActivationConfig
    | BatchNormConfig
    | DropoutConfig
    | MaxPoolConfig
    | AveragePoolConfig
    | LstmConfig
    | GruConfig
    | LastStepConfig
    | MeanConfig
    | MaxConfig
    | FlattenConfig
    | SumConfig
    | ConcatConfig
)
