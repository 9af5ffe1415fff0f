"""The dense twin of quantised BLAST: the same product on a dense weight, to compare with."""
