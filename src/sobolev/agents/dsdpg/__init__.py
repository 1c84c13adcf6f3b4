"""Distributional critics that learn the gradient of the return (paper 2), and the deterministic ones beside them."""
