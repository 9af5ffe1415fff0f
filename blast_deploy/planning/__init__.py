"""Which form computes each structured layer on a target, and why."""
