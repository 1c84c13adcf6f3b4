"""How much the distributional Sobolev operator of DSDPG (arXiv 2601.20071) contracts."""
