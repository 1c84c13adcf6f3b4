"""What a run writes down beside its checkpoint: metrics, scores, progress, provenance, videos and dreams."""
