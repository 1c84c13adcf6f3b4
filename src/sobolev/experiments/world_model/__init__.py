"""Whether the penalty lets a world model do with less data."""
