"""Makes random numbers from keys, for many examples at once."""

import numpy as np
from jaxtyping import Float64, Int64, UInt64

_STEP = np.uint64(0x9E3779B97F4A7C15)


def uniforms(
  keys: Int64[np.ndarray, "rows parts"], count: int
) -> Float64[np.ndarray, "rows count"]:
  """Makes numbers in [0, 1) that depend only on a row's key and the column.

  A row is a SplitMix64 sequence (Steele et al., "Fast splittable pseudorandom
  number generators", 2014) that starts at the hash of its key. A NumPy
  generator for each example would cost more than all of its draws.

  Args:
    keys: one key a row, whole numbers such as a seed and a position.
    count: numbers in a row.

  Returns:
    Uniform random numbers.
  """
  with np.errstate(over="ignore"):  # modulo 2^64 is what is wanted
    starts = np.zeros(len(keys), np.uint64)
    for part in keys.T.astype(np.uint64):
      starts = _mix(starts + _STEP + part)
    steps = _STEP * np.arange(1, count + 1, dtype=np.uint64)
    bits = _mix(starts[:, None] + steps[None])
  return (bits >> np.uint64(11)) * 2.0**-53


def _mix(x: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
  """SplitMix64's finaliser: every bit depends on every bit."""
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))
