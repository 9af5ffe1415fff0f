"""BLAST: blocks U_i diag(S_ij) V_j that share their factors (arXiv 2410.21262)."""
