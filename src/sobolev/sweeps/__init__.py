"""Sweeps: trains all runs of a suite, on this machine or a cluster, and records the state of each in a ledger."""
