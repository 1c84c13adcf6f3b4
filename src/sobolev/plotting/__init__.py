"""What all figures share: the colours of methods, panels in a grid, and files of figures."""
