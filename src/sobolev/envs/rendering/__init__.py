"""Rendering without a screen, and the frames that environments return."""
