"""Model adapters: one file for each family."""
