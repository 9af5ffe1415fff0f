"""GBLR: rank-one components on circular intervals of rows and columns (Gaudi-GBLR, arXiv 2310.18882)."""
