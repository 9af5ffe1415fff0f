"""One folder for each way to run a planned model; each lowers it for a target and opens the result."""
