import math

import pytest

from hyperclip_jax.data.records import fields


@pytest.mark.parametrize(
  ("values", "want"),
  [
    ([1, 2.5], [1.0, 2.5]),
    ([10**400, 1], [math.inf, 1.0]),
    ([1], None),
    ([1, "2"], None),
    ([True, 1], None),
    ([None, 1], None),
    ("12", None),
    ({0: 1, 1: 2}, None),
    (None, None),
  ],
)
def test_floats(values, want):
  assert fields.floats(values, 2) == want
