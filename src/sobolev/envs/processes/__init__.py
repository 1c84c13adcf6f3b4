"""The worker processes that step environments, and how the main process talks to them."""
