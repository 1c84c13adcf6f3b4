import os

from sobolev.envs import EnvConfig, worker_count


def test_worker_count():
    assert worker_count(EnvConfig(workers=0), 16) == 0
    assert worker_count(EnvConfig(workers=7), 16) == 7
    assert worker_count(EnvConfig(workers=7), 3) == 3
    assert worker_count(EnvConfig(), 1) == 1
    assert 1 <= worker_count(EnvConfig(), 10_000) <= (os.cpu_count() or 1)
