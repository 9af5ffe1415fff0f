"""Matrix formats, each with all that belongs to it in one folder."""
