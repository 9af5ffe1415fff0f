"""Measures what a machine's target file says of it."""
