"""Whether a world model needs less data with the penalty."""
