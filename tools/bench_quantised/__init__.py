"""The benchmark of quantised layers: ``python -m tools.bench_quantised``."""
