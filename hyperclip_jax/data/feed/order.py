"""The endless order of examples: which record, of which source, is where.

It depends on the seed and the position alone, so it goes on from anywhere, on
any number of hosts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from grain.experimental import index_shuffle

# Positions in which sources come as often as their weights say, to one in each.
PERIOD = 100_000


class Draw(NamedTuple):
  """What an example is made from: a record, and the seed of its randomness."""

  source: int
  record: int
  seed: tuple[int, int]


class Order:
  """Position -> its draw.

  Sources take turns, spread evenly over a period. Each is shuffled as a whole
  (by grain's cipher of indices, which needs no memory) and anew every epoch of
  its own.
  """

  def __init__(
    self, counts: Sequence[int], weights: Sequence[float], seed: int
  ):
    """Args:
    counts: records of each source.
    weights: of each source, how often it is drawn from; each at least a
      `PERIOD`-th of their sum.
    seed: of the order, and of each example with its position.
    """
    shares = PERIOD * np.array(weights) / np.sum(weights)
    turns = np.rint(shares).astype(int)
    sources = np.repeat(np.arange(len(turns)), turns)
    numbers = np.concatenate([np.arange(n) for n in turns])
    spread = np.argsort((numbers + 0.5) / turns[sources], kind="stable")
    self._counts = counts
    self._seed = seed
    # The first is what grain's own `seed` and `shuffle` come to.
    self._keys = [
      int(np.random.SeedSequence((seed, 1, i)).generate_state(1)[0])
      for i in range(len(counts))
    ]
    # Lists: one number of an array takes ten times longer to get at.
    self._turns = turns.tolist()
    self._sources = sources[spread].tolist()
    self._numbers = numbers[spread].tolist()

  def __call__(self, position: int) -> Draw:
    """The draw at a position, from 0 on."""
    period, place = divmod(position, len(self._sources))
    source = self._sources[place]
    count = self._counts[source]
    number = period * self._turns[source] + self._numbers[place]
    epoch, index = divmod(number, count)
    key = (self._keys[source] + epoch) % 2**32
    record = index_shuffle(index, max_index=count - 1, seed=key, rounds=4)
    return Draw(source, record, (self._seed, position))
