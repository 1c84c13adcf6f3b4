"""The version, in a module of its own that every room may import."""

__version__ = "0.2.0"
