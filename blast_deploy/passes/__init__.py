"""ONNX to ONNX on onnx-ir: one file, one pass."""
