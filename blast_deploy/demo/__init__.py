"""The whole way on a real model."""
