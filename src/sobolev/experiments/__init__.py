"""Experiments, which `sobolev study NAME` and `sobolev sensitivity` run: a package for each, and those of users.

An experiment is an `Experiment` object: settings, which become flags, a function that runs it, and functions that draw
and summarise its results. The built-in ones are in `registry`. Those of other packages are given as `module:OBJECT`, or
registered as entry points of the group `sobolev.experiments`.
"""

from sobolev.experiments.api import Experiment, Record, Results, Say

__all__ = ["Experiment", "Record", "Results", "Say"]
