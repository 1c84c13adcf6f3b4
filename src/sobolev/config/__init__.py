"""What defines a run: its settings, how they are resolved, checked and written, and the registry of methods."""
