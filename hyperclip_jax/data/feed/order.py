"""The endless order of examples: the record and source of each position.

It depends only on the seed and the position, so a run can resume anywhere, on
any number of hosts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from grain.experimental import index_shuffle

# Number of positions in which sources occur as often as their weights say.
PERIOD = 100_000


class Draw(NamedTuple):
  """Draw of an example.

  Attributes:
    source: number of the source.
    record: number of the record in the source.
    seed: seed of the random numbers of the example.
  """

  source: int
  record: int
  seed: tuple[int, int]


class Order:
  """Maps a position to its draw.

  Sources alternate, spread evenly over a period. Each source is shuffled anew
  in each of its epochs, by grain's index cipher, which needs no memory.
  """

  def __init__(
    self, counts: Sequence[int], weights: Sequence[float], seed: int
  ):
    """Makes an order.

    Args:
      counts: number of records of each source.
      weights: how often to draw from each source; each weight is at least their
        sum divided by `PERIOD`.
      seed: seed of the order; with the position, of each example.
    """
    shares = PERIOD * np.array(weights) / np.sum(weights)
    turns = np.rint(shares).astype(int)
    sources = np.repeat(np.arange(len(turns)), turns)
    numbers = np.concatenate([np.arange(n) for n in turns])
    spread = np.argsort((numbers + 0.5) / turns[sources], kind="stable")
    self._counts = counts
    self._seed = seed
    # The first key is that of grain's own `seed` and `shuffle`.
    self._keys = [
      int(np.random.SeedSequence((seed, 1, i)).generate_state(1)[0])
      for i in range(len(counts))
    ]
    # Lists: reading one number of an array takes ten times longer.
    self._turns = turns.tolist()
    self._sources = sources[spread].tolist()
    self._numbers = numbers[spread].tolist()

  def __call__(self, position: int) -> Draw:
    """Returns the draw at a position, from 0 on."""
    period, place = divmod(position, len(self._sources))
    source = self._sources[place]
    count = self._counts[source]
    number = period * self._turns[source] + self._numbers[place]
    epoch, index = divmod(number, count)
    key = (self._keys[source] + epoch) % 2**32
    record = index_shuffle(index, max_index=count - 1, seed=key, rounds=4)
    return Draw(source, record, (self._seed, position))
