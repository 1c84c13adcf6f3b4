"""When smoothing improves the estimate of a finite MDP, and how fast equations (3) and (4) of the paper converge."""
