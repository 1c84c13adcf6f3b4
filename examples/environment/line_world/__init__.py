"""Environments for sobolev from a package of one's own: `sobolev train line:hold --preset laptop`."""
