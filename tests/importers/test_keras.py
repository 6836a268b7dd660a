"""ONNX models of Keras 3 and tf2onnx are imported, with the outputs of Keras."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harexport.importers.onnx import from_onnx
from harexport.model.network import softmax
from tests.helpers.requirements import require, requires
from tests.importers import keras_models

pytestmark = requires("onnx-exporters")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("onnx-exporters")
    path = tmp_path_factory.mktemp("keras")
    # a process of its own: TensorFlow and PyTorch in one process may use different versions of protobuf
    command = [sys.executable, "-W", "ignore", keras_models.__file__, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return path


@pytest.mark.parametrize("name", keras_models.NAMES)
def test_keras_models(folder: Path, name: str) -> None:
    network = from_onnx(folder / f"{name}.onnx")
    outputs = network.logits(keras_models.windows())
    outputs = softmax(outputs) if name in ("cnn", "lstm") else outputs
    np.testing.assert_allclose(outputs, np.load(folder / f"{name}.npy"), atol=1e-5)
