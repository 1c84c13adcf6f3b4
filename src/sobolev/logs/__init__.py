"""The logs of a run: metrics and their sinks, scores, progress, provenance, videos and dreams."""
