"""DreamerV3 and GPLD-DreamerV3."""
