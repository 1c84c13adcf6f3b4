"""Settings of dsdpg, mage, td3 and the ablations: shared networks, flags, and combinations that are refused."""

import pytest

from sobolev.agents.baselines.config import MAGEConfig, TD3Config
from sobolev.agents.dsdpg.config import DSDPGConfig
from sobolev.agents.dsdpg.method import SIZES
from sobolev.checkpoints.run_folder import digest, folder
from sobolev.cli import train
from sobolev.config import configure, defaults, resolved
from sobolev.config.validate import validate
from sobolev.errors import UserError
from sobolev.training.schedule import Plan

METHODS = ("dsdpg", "mage", "td3", "mmd", "iqn")


@pytest.mark.parametrize("size", SIZES)
def test_all_methods_have_the_same_base_networks(size: str):
    agents = [defaults("gym:Hopper-v5", method, size).agent for method in METHODS]
    assert len({agent.actor.network for agent in agents}) == len({agent.critic.network for agent in agents}) == 1
    models = {agent.dynamics.network for agent in agents if isinstance(agent, DSDPGConfig)}
    assert models == {agent.ensemble.network for agent in agents if isinstance(agent, MAGEConfig)}


def test_ablations_are_dsdpg_without_gradients():
    dsdpg, mmd, iqn = (defaults("gym:Hopper-v5", method).agent for method in ("dsdpg", "mmd", "iqn"))
    assert (dsdpg.critic.gradient, dsdpg.discrepancy.kind, dsdpg.critic.actions) == (True, "msmmd", "replay")
    assert (mmd.critic.gradient, mmd.discrepancy.kind, mmd.critic.actions) == (False, "mmd", "replay")
    assert (iqn.critic.gradient, iqn.discrepancy.kind, iqn.critic.draws) == (False, "quantile", "quantile")
    assert mmd.dynamics == iqn.dynamics == dsdpg.dynamics


def test_the_protocol_and_its_arithmetic():
    config = resolved(configure("gym:Hopper-v5", method="td3"), "cpu")
    assert (config.steps, config.env.number, config.evaluation.every, config.evaluation.episodes) == (
        10**5,
        1,
        1000,
        10,
    )
    plan = Plan.of(config)
    assert plan.warmup == 1001 and plan.updates_due(1001) == 0
    assert [plan.updates_due(n) for n in (1002, 1003, 2001)] == [10, 20, 10_000]
    assert plan.capacity == 100_000


def test_flags_of_a_method_are_its_own():
    words = "gym:Ant-v5 --method mage --ensemble.members 4 --size small --seeds 0 1"
    config = train.config_from(words.split())
    assert isinstance(config.agent, MAGEConfig)
    assert (config.agent.ensemble.members, config.agent.ensemble.network.units, config.seeds) == (4, 64, (0, 1))
    assert isinstance(train.config_from(["gym:Ant-v5", "--method=td3"]).agent, TD3Config)
    for words, message in (
        ("gym:Ant-v5 --method td3 --ensemble.members 4", "'--ensemble.members': it belongs to --method mage"),
        ("gym:Ant-v5 --method td3 --model.deter 4", "'--model.deter': it belongs to --method gpld or dreamer"),
        ("gym:Ant-v5 --method td3 --size 12m", "unknown size of method td3 '12m': choose from small, medium, full"),
        ("gym:Ant-v5 --method sdpg", "unknown method 'sdpg': did you mean dsdpg"),
        ("gym:Ant-v5 --critic.samples 4", "'--critic.samples': it belongs to --method dsdpg, mmd or iqn"),
        ("gym:Ant-v5 --method iqn --critic.gradiant", "'--critic.gradiant': did you mean --critic.gradient"),
        ("gym:Ant-v5 --penalty.bound 1", "'--penalty.bound': it belongs to --regularizer jacobian-norm or spectral"),
    ):
        with pytest.raises(UserError, match=message):
            train.config_from(words.split())


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("mage", {"batch_size": 1000, "ensemble.members": 7}, "cannot be divided among --ensemble.members 7: take 994"),
        ("mage", {"ensemble.low": -1.0}, "--ensemble.low must be below"),
        ("mmd", {"critic.gradient": True}, "method mmd knows no gradients: leave out --critic.gradient"),
        ("dsdpg", {"discrepancy.last_step": 1.0}, "--discrepancy.last-step is 1.0, but must be at most"),
        ("dsdpg", {"dynamics.min_std": 3.0}, "--dynamics.min-std is 3.0, but must be below --dynamics.max-std"),
        ("mmd", {"dynamics.decoder_std": 0.001}, "is 0.01, but must be below --dynamics.decoder-std"),
        (
            "dsdpg",
            {"discrepancy.kind": "quantile"},
            "works only together with --critic.draws quantile: choose --method iqn",
        ),
        (
            "dsdpg",
            {"critic.draws": "quantile"},
            "works only together with --critic.draws quantile: choose --method iqn",
        ),
        ("dsdpg", {"critic.draws": "quantile", "discrepancy.kind": "quantile"}, "is for returns alone"),
        ("td3", {"precision": "float16"}, "unknown precision 'float16'"),
        ("td3", {"env.observation_noise": 1.0}, r"must be in \[0, 1\)"),
        ("td3", {"env.dynamics_noise": -0.1}, "must be at least 0"),
    ],
)
def test_impossible_settings_are_refused(method: str, settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        validate(configure("gym:Ant-v5", method=method, settings=settings))


def test_noise_has_a_folder_of_its_own():
    plain, noisy = (
        resolved(configure("gym:Ant-v5", method="td3", settings={"env.observation_noise": noise}), "cpu")
        for noise in (0.0, 0.2)
    )
    assert digest(plain) != digest(noisy) and folder(plain).name.startswith("td3-full-")
