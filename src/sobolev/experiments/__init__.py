"""Experiments: what `sobolev study NAME` and `sobolev sensitivity` run, a package each, and one's own.

An experiment is an `Experiment` object: settings, which become flags, a function that runs it, and functions that draw
and summarise what it gives. `registry` has a line for each of ours; those of other packages are named by
`module:OBJECT`, or registered under the entry point group `sobolev.experiments`.
"""

from sobolev.experiments.api import Experiment, Record, Results, Say

__all__ = ["Experiment", "Record", "Results", "Say"]
