"""RMS norm and SiLU with a custom derivative, for networks whose Jacobian is differentiated again."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@partial(jax.custom_jvp[Array], nondiff_argnums=(2,))
def norm_silu(y: Float[Array, " units"], scale: Float[Array, " units"], epsilon: float) -> Float[Array, " units"]:
    """silu(y * rsqrt(mean(y^2) + epsilon) * scale): RMS norm, then SiLU.

    Value and derivatives of any order equal those of the plain formula. The Jacobian is written as a diagonal matrix
    times (I - u u^T / units), where u is the normalised y, so that the products with K cotangents per state, and their
    derivatives, take a few passes over [K, states, units] arrays instead of a dozen.
    """
    return jax.nn.silu(y * _inverse_root(y, epsilon) * scale)


@norm_silu.defjvp
def _norm_silu_jvp(
    epsilon: float, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Float[Array, " units"], Float[Array, " units"]]:
    (y, scale), (dy, dscale) = primals, tangents
    root = _inverse_root(y, epsilon)
    unit = y * root
    z = unit * scale
    gate = jax.nn.sigmoid(z)
    slope = gate * (1 + z * (1 - gate))
    # Matrix products, since XLA is slow at summing K cotangents per state along the last axis.
    share = jnp.matmul(unit[None], dy, precision="highest") / y.size
    along = jnp.matmul(unit[:, None], share, precision="highest")
    return z * gate, slope * scale * root * (dy - along) + slope * unit * dscale


def _inverse_root(y: Float[Array, " units"], epsilon: float) -> Float[Array, ""]:
    return jax.lax.rsqrt(jnp.mean(y * y) + epsilon)
