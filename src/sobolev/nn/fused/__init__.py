"""Dreamer's recurrence as kernels written in Pallas, for NVIDIA's GPUs: fewer kernels than XLA makes of the same step.

step      a step of the observed window, forward
gradient  the same, backward
layers    layers of imagined steps, which have no derivative
kernels   what all of them share
"""
