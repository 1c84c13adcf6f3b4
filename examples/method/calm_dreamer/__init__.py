"""A method for sobolev from a package of one's own: `sobolev train walker-walk --method calm`."""
