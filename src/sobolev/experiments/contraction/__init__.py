"""By how much the distributional Sobolev operator of paper 2 contracts."""
