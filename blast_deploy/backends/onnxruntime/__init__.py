"""ONNX Runtime with the operator library."""
