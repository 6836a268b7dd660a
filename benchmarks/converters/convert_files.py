"""Converters of model files. Usage: convert_files.py TOOL SOURCE GIVEN.npz OUT

TOOL: onnx2tf-float32 and onnx2tf-dynamic (.onnx -> .tflite), quantizer (ai-edge-quantizer, dynamic int8 weights),
ort-dynamic (ONNX Runtime's dynamic quantization).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path


def onnx2tf(source: str, scheme: str, out: str) -> None:
    """Convert as in the tool's README; it writes several files to a folder."""
    import onnx2tf as tool

    with tempfile.TemporaryDirectory() as folder:
        tool.convert(
            input_onnx_file_path=source,
            output_folder_path=folder,
            output_dynamic_range_quantized_tflite=scheme == "dynamic",
            non_verbose=True,
        )
        ending = {"float32": "_float32.tflite", "dynamic": "_dynamic_range_quant.tflite"}[scheme]
        (made,) = Path(folder).glob(f"*{ending}")
        shutil.copy(made, out)


def quantizer(source: str, out: str) -> None:
    from ai_edge_quantizer import quantizer as tool
    from ai_edge_quantizer import recipe

    made = tool.Quantizer(source)
    made.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    made.quantize().export_model(out)


def ort_dynamic(source: str, out: str) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, out, weight_type=QuantType.QInt8)


def main(tool: str, source: str, _given: str, out: str) -> None:
    if tool.startswith("onnx2tf-"):
        onnx2tf(source, tool.removeprefix("onnx2tf-"), out)
    elif tool == "quantizer":
        quantizer(source, out)
    else:
        ort_dynamic(source, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
