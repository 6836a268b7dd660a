"""Read and build .tflite and .onnx files."""
