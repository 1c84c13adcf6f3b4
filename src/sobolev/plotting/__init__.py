"""Tools for all figures: the colours of methods, panels in a grid, and files of figures."""
