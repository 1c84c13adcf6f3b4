"""The Jacobian penalty at some of a batch's states, without its coefficient."""

from functools import partial

from sobolev.smoothness import JACOBIAN, at_sampled_states


def sampled_penalty(table, inputs, key, config):
    """What an agent's loss adds up, for one map."""
    assert JACOBIAN.penalty is not None
    return at_sampled_states(partial(JACOBIAN.penalty, config, table), inputs, key, config)
