"""The folder of a run, the checkpoints from which it resumes, and warm starts from other runs."""
