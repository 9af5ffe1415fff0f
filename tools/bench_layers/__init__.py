"""Times single layers: the BLAST kernel against what a user would run instead, and against the dense twin."""
