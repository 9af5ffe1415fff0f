"""Dense weights to structured ones: one file for each method."""
