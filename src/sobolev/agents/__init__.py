"""The agents: what a run asks of one (api), and the methods, a package each."""
