"""Models on disk, in and out."""
