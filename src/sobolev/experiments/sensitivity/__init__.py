"""How far the latent tables of trained agents move when their inputs do."""
