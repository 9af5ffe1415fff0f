"""The benchmark of GBLR layers: ``python -m tools.bench_gblr``."""
