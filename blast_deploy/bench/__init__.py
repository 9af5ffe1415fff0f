"""Timing that can be trusted: contenders interleaved, ratios with intervals."""
