import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hyperclip_jax.data.feed.uniforms import uniforms

INTS = st.integers(0, 2**62)


@given(INTS, st.lists(INTS, min_size=1, max_size=5), st.integers(1, 7))
def test_a_row_depends_on_its_key_alone(seed, positions, count):
  keys = np.array([(seed, position) for position in positions])
  found = uniforms(keys, count)
  assert found.shape == (len(positions), count)
  assert ((found >= 0) & (found < 1)).all()
  for row, key in zip(found, keys, strict=True):
    np.testing.assert_array_equal(uniforms(key[None], count + 1)[0, :-1], row)


def test_known_values():
  # Steele's reference sequence of SplitMix64 from the seed 0 starts with these;
  # the start of a row is its key's hash, so undo that by the key of hash 0.
  step = -0x9E3779B97F4A7C15 % 2**64
  keys = np.array([[step]], np.uint64).astype(np.int64)
  want = np.array([0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4], np.uint64)
  np.testing.assert_array_equal(
    uniforms(keys, 2)[0], (want >> np.uint64(11)) * 2.0**-53
  )


def test_neighbouring_keys_are_independent():
  keys = np.array([(seed, i) for seed in range(4) for i in range(5000)])
  found = uniforms(keys, 8)
  # 20,000 x 8 uniform numbers: standard errors 7e-4 and 4e-4 of these.
  assert abs(found.mean() - 0.5) < 0.004
  assert abs((found**2).mean() - 1 / 3) < 0.004
  assert len(np.unique(found)) == found.size
  by_column = np.corrcoef(found.T) - np.eye(8)
  assert abs(by_column).max() < 0.035  # standard error 0.007
  following = [np.corrcoef(found[:-1, i], found[1:, i])[0, 1] for i in range(8)]
  assert abs(np.array(following)).max() < 0.035
