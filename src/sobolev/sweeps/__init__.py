"""Sweeps: all runs of a suite, on this machine or a cluster, with a ledger of what happened to each."""
