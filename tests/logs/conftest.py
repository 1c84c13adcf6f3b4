"""What tests of log sinks share."""

import sys

import pytest

from tests.logs import fake_wandb


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> fake_wandb.Service:
    """A server of Weights & Biases, behind a module `wandb` that can be imported."""
    found = fake_wandb.Service()
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb.module(found))
    return found
