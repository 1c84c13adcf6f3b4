"""When smoothing helps the estimate of a finite MDP, and how fast equations (3) and (4) of paper 1 hold."""
