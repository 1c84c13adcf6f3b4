"""From run folders to figures; what others published, to draw beside them."""
