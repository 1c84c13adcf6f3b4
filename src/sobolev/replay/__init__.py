"""Sequence replay: device-resident rings of steps and latents, uniform windows and the online queue."""

from sobolev.replay.config import ReplayConfig
from sobolev.replay.ring import read_ring, write_ring
from sobolev.replay.sequence import (
    Replay,
    Windows,
    add,
    create,
    grow,
    replay_axes,
    sample,
    stored_windows,
    write_back,
)

__all__ = [
    "Replay",
    "ReplayConfig",
    "Windows",
    "add",
    "create",
    "grow",
    "read_ring",
    "replay_axes",
    "sample",
    "stored_windows",
    "write_back",
    "write_ring",
]
