"""Is the artifact right? Every output and layer against float64, with a verdict."""
