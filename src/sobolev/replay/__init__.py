"""Sequence replay: ring buffers of steps and latents, on the device or the host, uniform windows, an online queue."""

from sobolev.replay.config import ReplayConfig
from sobolev.replay.host import HostReplay, append, create_host, look_ahead, returned, streamed, take
from sobolev.replay.ring import read_ring, write_ring
from sobolev.replay.sequence import (
    AnyReplay,
    Choice,
    Like,
    Replay,
    Ring,
    Streamed,
    Windows,
    add,
    choose,
    create,
    replay_axes,
    sample,
    write_back,
)

__all__ = [
    "AnyReplay",
    "Choice",
    "HostReplay",
    "Like",
    "Replay",
    "ReplayConfig",
    "Ring",
    "Streamed",
    "Windows",
    "add",
    "append",
    "choose",
    "create",
    "create_host",
    "look_ahead",
    "read_ring",
    "replay_axes",
    "returned",
    "sample",
    "streamed",
    "take",
    "write_back",
    "write_ring",
]
