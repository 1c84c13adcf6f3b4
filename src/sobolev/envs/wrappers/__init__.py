"""Wrappers of environments: checks of what they return, noise, and the choice of observations."""
