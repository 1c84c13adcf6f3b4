"""What is put around an environment: checks of what it returns, noise, and the choice of observations."""
