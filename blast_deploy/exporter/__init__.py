"""Torch modules to portable ONNX with a float64 reference beside it."""
