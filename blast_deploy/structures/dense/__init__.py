"""The dense matrix by the kernels' own product, to compare structures with."""
