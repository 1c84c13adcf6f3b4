"""How sensitive the latent distributions of trained agents are to their inputs."""
