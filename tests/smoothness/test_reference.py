"""The penalty and its schedules against the numbers of the public code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.smoothness import PenaltyConfig, coefficient, exact_energies, probability_table, row_energies

KINDS = {"post": ("obs", "obslogit"), "prior": ("prior", "priorlogit")}
SAME = ("none", "linear", "exponential", "cosine", "step")


def close(found, expected, name=""):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.fixture(params=["post", "prior"])
def case(request, vectors, make_reference_network):
    """Everything of one of the two maps: its network, its inputs, its probes, and what the public code gives."""
    data, kind = vectors("gpld"), request.param
    network, inputs = build(data, kind, make_reference_network)
    return kind, data, network, inputs, jnp.asarray(data[f"inputs/eps_{kind}"])


def build(data, kind, make_reference_network):
    params = {name.removeprefix("params/dyn/"): value for name, value in data.items() if name.startswith("params/dyn/")}
    parts = ("deter", "tokens") if kind == "post" else ("deter",)
    inputs = jnp.concatenate([jnp.asarray(data[f"inputs/{part}"]) for part in parts], -1)
    return make_reference_network(*KINDS[kind], params), inputs


@pytest.mark.parametrize("form", ["fast", "general"])
def test_row_energies(case, form):
    kind, data, network, inputs, probes = case
    fn = network if form == "fast" else lambda x: probability_table(network, x)
    rows = jax.jit(lambda inputs, probes: row_energies(fn, inputs, probes))(inputs, probes)
    close(rows, data[f"outputs/{kind}_rows"])
    close(rows.mean(), data[f"outputs/{kind}_penalty"])


@pytest.mark.parametrize("form", ["fast", "general"])
def test_exact_energies(case, form):
    kind, data, network, inputs, _ = case
    fn = network if form == "fast" else lambda x: probability_table(network, x)
    close(jax.jit(lambda inputs: exact_energies(fn, inputs))(inputs), data[f"outputs/{kind}_frobenius_rows"])


@pytest.mark.parametrize("form", ["fast", "general"])
def test_gradients(case, form):
    kind, data, network, inputs, probes = case

    def value(network, inputs):
        fn = network if form == "fast" else lambda x: probability_table(network, x)
        return row_energies(fn, inputs, probes).mean()

    by_network, by_inputs = jax.jit(jax.grad(value, argnums=(0, 1)))(network, inputs)
    name, logits = KINDS[kind]
    found = {f"{logits}/kernel": by_network.last_kernel, f"{logits}/bias": by_network.last_bias}
    found |= {f"{name}0/kernel": by_network.first_kernel, f"{name}0/bias": by_network.first_bias}
    for i, layer in enumerate(by_network.layers):
        found[f"{name}{i}norm/scale"] = layer.scale
        if i:
            found |= {f"{name}{i}/kernel": layer.kernel, f"{name}{i}/bias": layer.bias}
    prefix = f"grads/{kind}_params/dyn/"
    expected = {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}
    assert set(found) == set(expected)
    for key, value in expected.items():
        close(found[key], value, key)
    split = data["inputs/deter"].shape[1]
    close(by_inputs[:, :split], data[f"grads/{kind}_deter"])
    if kind == "post":
        close(by_inputs[:, split:], data["grads/post_tokens"])


@pytest.mark.parametrize("ours, theirs", [("sqrt", "sqrt_time"), *zip(SAME, SAME, strict=True)])
def test_schedule(vectors, ours, theirs):
    data = vectors("schedule")
    config = PenaltyConfig(schedule=ours)
    initial, steps = float(data["inputs/lam0"]), data["inputs/step"]
    found = [coefficient(config, initial, jnp.asarray(step, jnp.int32)) for step in steps]
    np.testing.assert_allclose(jnp.stack(found), data[f"outputs/{theirs}"], rtol=1e-4, atol=1e-6)
