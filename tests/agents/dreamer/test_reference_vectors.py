"""Every component gives the public code's numbers, given its parameters (tests/data/reference_vectors/README.md)."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from sobolev.agents.dreamer.behavior import Actor, ReturnScale, imagination_losses, replay_value_loss
from sobolev.agents.dreamer.config import BehaviorConfig, OptimizerConfig
from sobolev.agents.dreamer.decoder import Decoder, reconstruction_loss
from sobolev.agents.dreamer.encoder import Encoder
from sobolev.agents.dreamer.images import SHRINK, ImageDecoder, ImageEncoder
from sobolev.agents.dreamer.optimizer import build_optimizer, descend
from sobolev.agents.dreamer.rssm import flatten_blocks
from sobolev.agents.dreamer.world_model import balanced_kl
from sobolev.nn import MLP, BoundedNormal, TwoHot, bernoulli_loss, entropy, kl_divergence, over
from tests.vectors import (
    assert_close,
    block_linear,
    convolution,
    group,
    head,
    hidden,
    linear,
    load,
    mlp,
    norm,
    rssm,
    stage,
)


def each(function):
    """`function` for every time and environment, compiled: op by op, most of these tests would be compilations."""
    return jax.jit(over(function, 2))


def swap(x):
    """Batch-major to time-major and back."""
    return jnp.swapaxes(x, 0, 1)


def test_encoder():
    arrays = load("encoder_proprio")
    params = group(arrays, "params/enc")
    count = sum(key.endswith("/kernel") for key in params)
    encoder = Encoder(MLP(tuple(hidden(params, f"mlp{i}") for i in range(count))))
    assert_close(each(encoder)(group(arrays, "inputs")), arrays["outputs/tokens"])


def test_decoder_and_its_loss():
    arrays = load("decoder_proprio")
    params, inputs, target = (group(arrays, name) for name in ("params/dec", "inputs", "inputs/target"))
    shapes = tuple((name, value.shape[2:]) for name, value in sorted(target.items()))
    decoder = Decoder(mlp(params), {name: linear(params, f"vec/{name}/pred") for name, _ in shapes}, shapes)
    stoch = inputs["stoch"].reshape(*inputs["stoch"].shape[:2], -1)
    prediction = each(decoder)(inputs["deter"], stoch)
    loss = each(reconstruction_loss)(prediction, target)
    for name, _ in shapes:
        assert_close(prediction[name], arrays[f"outputs/pred/{name}"])
        assert_close(loss[name], arrays[f"outputs/loss/{name}"])


def test_image_encoder():
    arrays = load("encoder_pixel")
    params, inputs = group(arrays, "params/enc2"), group(arrays, "inputs")
    count = sum(key.endswith("/kernel") for key in params)
    image = ImageEncoder(tuple(stage(params, f"cnn{i}") for i in range(count)))
    encoder = Encoder(None, image, tuple(inputs))
    assert_close(each(encoder)(inputs), arrays["outputs/tokens"])


def test_image_decoder_and_its_loss():
    arrays = load("decoder_pixel")
    params, inputs = group(arrays, "params/dec2"), group(arrays, "inputs")
    target, small = inputs["target"], inputs["target"].shape[2] // SHRINK
    numbers = sorted((key[4] for key in params if key.startswith("conv") and key.endswith("/kernel")), reverse=True)
    image = ImageDecoder(
        deter=block_linear(params, "sp0"),
        stoch=hidden(params, "sp1"),
        stoch_output=linear(params, "sp2"),
        norm=norm(params, "spnorm"),
        stages=tuple(stage(params, f"conv{i}") for i in numbers),
        output=convolution(params, "imgout"),
        height=small,
        width=small,
    )
    decoder = Decoder(None, {}, (), image, (("image", target.shape[-1]),))
    stoch = inputs["stoch"].reshape(*inputs["stoch"].shape[:2], -1)
    prediction = each(decoder)(inputs["deter"], stoch)
    assert_close(prediction["image"], arrays["outputs/pred"])
    assert_close(each(reconstruction_loss)(prediction, {"image": target})["image"], arrays["outputs/loss"])


def test_recurrence_posterior_prior_and_kl():
    arrays = load("rssm")
    inputs, outputs = group(arrays, "inputs"), group(arrays, "outputs")
    model = rssm(group(arrays, "params/dyn"), inputs["stoch"].shape[-1])
    cell, embed = jax.jit(jax.vmap(model.cell(), (1, 0, 0), 1)), jax.jit(jax.vmap(model.embed_action))
    blocks, stoch = model.to_blocks(inputs["deter0"]), inputs["stoch0"].reshape(len(inputs["stoch0"]), -1)
    deters = []
    for t in range(inputs["action"].shape[1]):
        keep = 1.0 - inputs["reset"][:, t].astype(jnp.float32)
        action = embed(inputs["action"][:, t] * keep[:, None])
        blocks = cell(blocks * keep[None, :, None], stoch * keep[:, None], action)
        deters.append(flatten_blocks(blocks))
        stoch = inputs["stoch"][:, t].reshape(len(stoch), -1)
    deter = jnp.stack(deters, 1)
    posterior, prior = each(model.posterior)(deter, inputs["tokens"]), each(model.prior)(deter)
    assert_close(deter, outputs["deter"])
    assert_close(posterior, outputs["post_probs"])
    assert_close(prior, outputs["prior_probs"])
    assert_close(each(entropy)(posterior), outputs["post_entropy"])
    assert_close(each(entropy)(prior), outputs["prior_entropy"])
    assert_close(each(kl_divergence)(posterior, prior), outputs["kl"])
    for loss in balanced_kl(posterior, prior, 1.0):
        assert_close(loss, outputs["dyn_loss"])


def test_observe_is_the_same_recurrence():
    """The scan of training, with its own samples, against the step-by-step form given these samples."""
    arrays = load("rssm")
    inputs = group(arrays, "inputs")
    model = rssm(group(arrays, "params/dyn"), inputs["stoch"].shape[-1])
    stoch0 = inputs["stoch0"].reshape(len(inputs["stoch0"]), -1)
    first = swap(inputs["reset"])
    observe = jax.jit(partial(model.observe))
    action, tokens = swap(inputs["action"]), swap(inputs["tokens"])
    latents = observe(inputs["deter0"], stoch0, action, tokens, first, jax.random.key(0))
    posterior = jax.jit(jax.vmap(model.posterior))
    cell, embed = jax.jit(jax.vmap(model.cell(), (1, 0, 0), 1)), jax.jit(jax.vmap(model.embed_action))
    deter, stoch = inputs["deter0"], stoch0
    for t in range(len(first)):
        keep = 1.0 - first[t].astype(jnp.float32)[:, None]
        action = embed(swap(inputs["action"])[t] * keep)
        deter = flatten_blocks(cell(model.to_blocks(deter * keep), stoch * keep, action))
        assert_close(latents.deter[t], deter)
        assert_close(latents.probs[t], posterior(deter, swap(inputs["tokens"])[t]))
        one_hot = jax.nn.one_hot(latents.index[t], latents.probs.shape[-1])
        assert_close(latents.stoch[t], one_hot.reshape(stoch.shape))
        deter, stoch = latents.deter[t], latents.stoch[t]


def test_two_hot_head():
    arrays = load("head_symexp_twohot")
    net, inputs = head(group(arrays, "params/twohot"), "head/logits"), group(arrays, "inputs")
    bins = TwoHot(arrays["outputs/bins"].size)
    logits = each(net)(inputs["x"])
    assert_close(bins.points(), arrays["outputs/bins"])
    assert_close(logits, arrays["outputs/logits"])
    assert_close(each(bins.mean)(logits), arrays["outputs/pred"], rtol=2e-3)
    assert_close(each(bins.loss_to)(logits, inputs["target"]), arrays["outputs/loss"])


def test_binary_head():
    arrays = load("head_binary")
    net, inputs = head(group(arrays, "params/binary"), "head/logit"), group(arrays, "inputs")
    logit = each(net)(inputs["x"])[..., 0]
    assert_close(logit, arrays["outputs/logit"])
    assert_close(jax.nn.sigmoid(logit), arrays["outputs/prob1"])
    assert_close(each(bernoulli_loss)(logit, inputs["target"]), arrays["outputs/loss"])


def test_bounded_normal_head():
    arrays = load("head_bounded_normal")
    params, inputs, outputs = (group(arrays, name) for name in ("params/pol", "inputs", "outputs"))
    mean, std = linear(params, "head/action/mean"), linear(params, "head/action/stddev")
    policy = each(Actor(mlp(params), mean, std, 0.1, 1.0))(inputs["x"][..., :-1], inputs["x"][..., -1:])
    assert_close(policy.mean, outputs["mean"])
    assert_close(policy.std, outputs["std"])
    assert_close(policy.log_prob(inputs["action"]), outputs["logp"])
    assert_close(policy.entropy(), outputs["entropy"])


def imagined(arrays, scale, mean, std, logits):
    x = {key: swap(value) for key, value in group(arrays, "inputs").items()}
    return imagination_losses(
        x["reward"][1:],
        x["cont"],
        x["action"][:-1],
        BoundedNormal(swap(mean)[:-1], swap(std)[:-1]),
        swap(logits)[:-1],
        jax.vmap(TwoHot(logits.shape[-1]).mean)(logits[:, -1]),
        x["slow_value_logits"][:-1],
        scale,
        BehaviorConfig(),
    )


def test_imagination_losses_and_running_scale():
    arrays = load("imagination_loss")
    inputs, config, scale = group(arrays, "inputs"), BehaviorConfig(), ReturnScale.init()
    losses = jax.jit(lambda *given: imagined(arrays, *given))
    for call in ("first", "second"):
        out = losses(scale, inputs["policy_mean"], inputs["policy_std"], inputs["value_logits"])
        want, scale = group(arrays, f"outputs_{call}_call"), out.scale
        assert_close(swap(out.returns), want["ret"], rtol=2e-3)
        assert_close(swap(out.policy), want["policy_loss"], rtol=2e-3)
        assert_close(swap(out.value), want["value_loss"], rtol=2e-3)
        assert_close(scale.low, want["retnorm_lo"], rtol=2e-3)
        assert_close(scale.scale(config), want["retnorm_scale"], rtol=2e-3)


def test_gradients_of_imagination_losses():
    arrays = load("imagination_loss")
    inputs = group(arrays, "inputs")
    given = tuple(inputs[name] for name in ("policy_mean", "policy_std", "value_logits"))
    start = jax.jit(lambda *given: imagined(arrays, ReturnScale.init(), *given).scale)(*given)

    def total(mean, std, logits):
        out = imagined(arrays, start, mean, std, logits)
        return out.policy.mean() + out.value.mean()

    gradients = jax.jit(jax.grad(total, (0, 1, 2)))(*given)
    for name, gradient in zip(("policy_mean", "policy_std", "value_logits"), gradients, strict=True):
        assert_close(gradient, arrays[f"grads_second_call/{name}"], rtol=2e-3)


def test_replay_value_loss():
    arrays = load("replay_value_loss")
    x = {key: swap(value) for key, value in group(arrays, "inputs").items()}
    names = ("reward", "is_last", "is_terminal", "bootstrap", "value_logits", "slow_value_logits")
    both = jax.jit(replay_value_loss, static_argnums=len(names))
    loss, returns = both(*(x[name] for name in names), BehaviorConfig())
    assert_close(swap(returns), arrays["outputs/ret"], rtol=2e-3)
    assert_close(swap(loss), arrays["outputs/loss"], rtol=2e-3)


def test_optimizer():
    arrays = load("optimizer")
    config, params = OptimizerConfig(warmup=3), group(arrays, "inputs/params")
    state = build_optimizer(config).init(params)
    steps = sum(key.startswith("outputs/step") and key.endswith("params/z/kernel") for key in arrays)
    assert steps >= 6

    @jax.jit
    def moved(gradients, state, params) -> tuple:
        updates: dict = build_optimizer(config).update(gradients, state, params)[0]  # pyright: ignore
        return updates, *descend(config, params, gradients, state)[:2]

    for step in range(steps):
        updates, params, state = moved(group(arrays, f"inputs/grads_step{step}"), state, params)
        for name in params:
            assert_close(updates[name], arrays[f"outputs/step{step}/update/{name}"], atol=1e-9)
            assert_close(params[name], arrays[f"outputs/step{step}/params/{name}"])


@pytest.mark.parametrize("which", ["post", "prior"])
def test_penalty_of_the_agents_own_tables(which):
    """The agent's networks take the fast path of `smoothness` and give the public code's penalty and gradients."""
    from sobolev.smoothness import LinearFirst, row_energies

    arrays = load("gpld")
    inputs = group(arrays, "inputs")
    model = rssm(group(arrays, "params/dyn"), inputs["eps_post"].shape[-1])
    table = {"post": model.posterior, "prior": model.prior}[which]
    parts = {"post": ("deter", "tokens"), "prior": ("deter",)}[which]
    assert isinstance(table, LinearFirst)

    def penalty(table, *values):
        rows = row_energies(table, jnp.concatenate(values, -1), inputs[f"eps_{which}"])
        return rows.mean(), rows

    values = [inputs[name] for name in parts]
    both = jax.jit(jax.value_and_grad(penalty, tuple(range(1 + len(parts))), has_aux=True))
    (value, rows), gradients = both(table, *values)
    assert_close(rows, arrays[f"outputs/{which}_rows"])
    assert_close(value, arrays[f"outputs/{which}_penalty"])
    for name, gradient in zip(parts, gradients[1:], strict=True):
        assert_close(gradient, arrays[f"grads/{which}_{name}"])
    first = {"post": "obs", "prior": "prior"}[which]
    for i, layer in enumerate(gradients[0].layers):
        assert_close(layer.linear.kernel, arrays[f"grads/{which}_params/dyn/{first}{i}/kernel"])
        assert_close(layer.linear.bias, arrays[f"grads/{which}_params/dyn/{first}{i}/bias"])
        assert_close(layer.norm.scale, arrays[f"grads/{which}_params/dyn/{first}{i}norm/scale"])
    assert_close(gradients[0].logits.kernel, arrays[f"grads/{which}_params/dyn/{first}logit/kernel"])
