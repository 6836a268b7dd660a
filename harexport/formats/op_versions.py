"""Oldest runtime that supports a file, from its operator versions or its opset.

Sources: runtime_version.cc of LiteRT (tflite/tools/versioning) and ONNX Runtime's compatibility table
(onnxruntime.ai/docs/reference/compatibility).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# The oldest supported TensorFlow Lite: that of Google Play services on Android phones from 2021 on.
MIN_TFLITE = "2.6"
# Operator versions newer than TensorFlow Lite 2.6, as {operator: {version: runtime}}; version 1 if the operator itself
# is newer. 2.6 supports all versions that are not listed.
_NEWER: dict[str, dict[int, str]] = {
    "ABS": {5: "2.12"},
    "ADD": {5: "2.13"},
    "ARG_MAX": {3: "2.9"},
    "ARG_MIN": {3: "2.9"},
    "ATAN2": {1: "2.10"},
    "BATCH_TO_SPACE_ND": {4: "2.12"},
    "BITCAST": {1: "2.13"},
    "BITWISE_XOR": {1: "2.13"},
    "BUCKETIZE": {1: "2.8"},
    "CAST": {2: "2.7", 3: "2.8", 4: "2.9", 5: "2.12", 6: "2.15", 7: "2.17"},
    "CONCATENATION": {4: "2.14"},
    "CONV_2D": {6: "2.9", 7: "2.11", 8: "2.15"},
    "DEPTHWISE_CONV_2D": {7: "2.11"},
    "DEQUANTIZE": {5: "2.7", 6: "2.18"},
    "DILATE": {1: "2.15"},
    "DYNAMIC_UPDATE_SLICE": {1: "2.9", 2: "2.17", 3: "2.19", 4: "2.20"},
    "EMBEDDING_LOOKUP": {4: "2.18"},
    "EQUAL": {4: "2.13"},
    "EXP": {2: "2.12"},
    "FILL": {4: "2.12"},
    "FLOOR_DIV": {3: "2.13"},
    "FLOOR_MOD": {2: "2.13"},
    "FULLY_CONNECTED": {10: "2.11", 11: "2.15", 12: "2.17", 13: "2.18"},
    "GATHER": {6: "2.13", 7: "2.15"},
    "GATHER_ND": {4: "2.13", 5: "2.16"},
    "GELU": {1: "2.9"},
    "GREATER_EQUAL": {3: "2.13"},
    "LESS": {3: "2.13"},
    "LOG": {2: "2.15"},
    "MIRROR_PAD": {3: "2.12"},
    "MUL": {6: "2.11", 7: "2.13"},
    "MULTINOMIAL": {1: "2.8"},
    "PACK": {4: "2.13"},
    "QUANTIZE": {3: "2.7"},
    "RANDOM_STANDARD_NORMAL": {1: "2.8"},
    "RANDOM_UNIFORM": {1: "2.8"},
    "RANGE": {2: "2.14"},
    "REDUCE_WINDOW": {1: "2.15"},
    "RELU_0_TO_1": {1: "2.10"},
    "RIGHT_SHIFT": {1: "2.13"},
    "RSQRT": {3: "2.15"},
    "SELECT": {3: "2.12"},
    "SELECT_V2": {2: "2.12"},
    "SIGN": {1: "2.11", 2: "2.12"},
    "SLICE": {6: "2.14"},
    "SPACE_TO_BATCH_ND": {4: "2.12"},
    "STRIDED_SLICE": {7: "2.14"},
    "TILE": {3: "2.8"},
    "TOPK_V2": {3: "2.13"},
    "TRANSPOSE": {6: "2.12", 7: "2.14"},
    "TRANSPOSE_CONV": {4: "2.13", 5: "2.15"},
    "UNIDIRECTIONAL_SEQUENCE_LSTM": {4: "2.12"},
    "UNSORTED_SEGMENT_MAX": {1: "2.10"},
    "UNSORTED_SEGMENT_MIN": {1: "2.11"},
    "UNSORTED_SEGMENT_PROD": {1: "2.10"},
    "UNSORTED_SEGMENT_SUM": {1: "2.10"},
    "WHERE": {2: "2.8"},
}
_STABLEHLO = "2.15"  # the first runtime with some of these operators; 2.17 has all of them

# The oldest ONNX Runtime for an opset, and for an IR version. Only opsets of ONNX releases are guaranteed to work.
_ONNX_RUNTIME_OPSET = {
    11: "1.0", 12: "1.3", 13: "1.6", 14: "1.8", 15: "1.9", 16: "1.11", 17: "1.12", 18: "1.14", 19: "1.15", 20: "1.17",
    21: "1.18",
}  # fmt: skip
_ONNX_RUNTIME_IR = {6: "1.0", 7: "1.3", 8: "1.9", 9: "1.16", 10: "1.18"}
_AFTER = "1.21"  # for versions beyond the tables, which end at 1.20
_LAST_OPSET, _LAST_IR = 24, 12  # no later ones were released when these tables were made
UNKNOWN = "unknown"


def version_key(version: str) -> tuple[int, ...]:
    """Return a key for comparing versions: "2.10" is after "2.9". Parts that are no numbers count as 0."""
    return tuple(int(part[:9]) if part.isdecimal() else 0 for part in version.split("."))


def min_tflite(kinds: Iterable[tuple[str, int]]) -> str:
    """Return the oldest TensorFlow Lite for operators (kind, version); at least MIN_TFLITE."""
    needed = {MIN_TFLITE}
    for kind, version in kinds:
        newer = _NEWER.get(kind, {})
        # versions beyond the table need at least the runtime of its last one
        if reached := [runtime for since, runtime in newer.items() if since <= version]:
            needed.add(max(reached, key=version_key))
        elif kind.startswith("STABLEHLO_"):
            needed.add(_STABLEHLO)
    return max(needed, key=version_key)


def min_onnx_runtime(opset: int, ir: int) -> str:
    """Return the oldest ONNX Runtime for an opset (of ONNX's own domain) and an IR version; UNKNOWN for later ones."""
    if opset > _LAST_OPSET or ir > _LAST_IR:
        return UNKNOWN
    return max(_find_runtime(opset, _ONNX_RUNTIME_OPSET), _find_runtime(ir, _ONNX_RUNTIME_IR), key=version_key)


def _find_runtime(version: int, table: Mapping[int, str]) -> str:
    if version > max(table):
        return _AFTER
    return next((runtime for known, runtime in table.items() if version <= known), "1.0")
