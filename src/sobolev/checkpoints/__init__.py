"""What a run resumes from: its folder, the two slots of its checkpoints, their files, and warm starts."""
