"""The examples of docs/smoothness.md, run as written."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny

PAGE = Path(__file__).parents[2] / "docs" / "smoothness.md"


@pytest.fixture(scope="module")
def names():
    """What the page's code blocks, run one after the other, leave behind."""
    found: dict = {}
    with tiny.quickly():
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(block, str(PAGE), "exec"), found)
    return found


def test_first_example_is_short():
    first = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    assert len([line for line in first.splitlines() if line and not line.startswith("import")]) <= 10


@pytest.mark.long
def test_first_example_gives_a_penalty_and_its_gradient(names):
    def table(x):
        return jax.nn.softmax(names["mlp"](x).reshape(4, 5))

    exact = jnp.square(jax.vmap(jax.jacrev(table))(names["inputs"])).sum((2, 3)).mean()
    # 256 probes: their mean is within a fifth of the truth.
    np.testing.assert_allclose(names["value"], 0.5 * exact, rtol=0.2)
    assert jnp.abs(names["gradient"].layers[0].weight).max() > 0


def test_fast_path_of_the_example(names):
    assert isinstance(names["posterior"], names["sobolev"].smoothness.LinearFirst)
    np.testing.assert_allclose(names["fast"], names["general"], rtol=1e-5)


def test_the_other_regularizers_of_the_page(names):
    np.testing.assert_allclose(names["close"], names["exact"], rtol=0.1)
    assert names["sigmas"].shape == (3,) and float(names["sigmas"].max()) > 1
    weights = [layer.weight for layer in names["spectrally_bounded"](names["trained"], names["vectors"]).layers]
    assert max(float(np.linalg.norm(np.asarray(weight), 2)) for weight in weights) < 1.01
    assert jnp.isfinite(names["noisy"])
    found = names["CONFIDENCE"].penalty(names["ConfidenceConfig"](), names["table"], names["inputs"], None)
    assert found.rows.shape == (4,) and 0.2 < float(found.value) < 1
