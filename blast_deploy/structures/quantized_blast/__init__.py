"""BLAST with integer factors: Uq and Vq of 8 or 4 bits with their scales, S of 8 bits."""
