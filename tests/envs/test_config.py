import os

import pytest

from sobolev.envs import EnvConfig, check_config, worker_count
from sobolev.errors import UserError


def test_worker_count():
    assert worker_count(EnvConfig(workers=0), 16) == 0
    assert worker_count(EnvConfig(workers=7), 16) == 7
    assert worker_count(EnvConfig(workers=7), 3) == 3
    assert worker_count(EnvConfig(), 1) == 1
    assert 1 <= worker_count(EnvConfig(), 10_000) <= (os.cpu_count() or 1)


@pytest.mark.parametrize("wrong", [EnvConfig(number=0), EnvConfig(repeat=0), EnvConfig(workers=-1)])
def test_impossible_numbers_are_refused(wrong: EnvConfig):
    check_config(EnvConfig())
    with pytest.raises(UserError, match="must be at least"):
        check_config(wrong)
