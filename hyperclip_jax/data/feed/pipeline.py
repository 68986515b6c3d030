"""Makes batches of records on the host: shuffle, show, decode, tokenise.

The order of examples, the parts shown of each and its augmentation are pure
functions of the seed and of the global position, so the state of the pipeline
is one number: the examples seen so far. Host h of H reads positions start + h,
start + h + H, and so on.
"""

import functools
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import grain
import numpy as np

from hyperclip_jax.data.feed import place, views
from hyperclip_jax.data.feed.buffers import Buffers
from hyperclip_jax.data.feed.faults import Faults, TooManyFaults
from hyperclip_jax.data.feed.fetch import Fetched
from hyperclip_jax.data.feed.order import Draw, Order
from hyperclip_jax.data.feed.pack import Leaves, pack
from hyperclip_jax.data.feed.tokenizer import AnyTokenizer
from hyperclip_jax.data.feed.uniforms import uniforms
from hyperclip_jax.data.feed.views import Display, Shown, View
from hyperclip_jax.data.records import images, storage
from hyperclip_jax.data.records.record import Record
from hyperclip_jax.data.records.shards import TarSource

Batch = dict[str, Leaves]

_READERS = 16  # threads that read records for `names`
_WHOLE_ONLY = views.whole_only(View())


class MakeBatch:
  """Makes batches from draws: leaves by view, of the shapes listed in `views`.

  A bad record is replaced by the one after it.
  """

  def __init__(
    self,
    sources: Sequence[TarSource],
    faults: Faults,
    display: Display,
    *,
    form: place.Form,
    tokenizer: AnyTokenizer,
  ):
    """Prepares to make batches.

    Args:
      sources: sources that the numbers of a draw refer to.
      faults: counter of bad records.
      display: what a batch shows of a record.
      form: layout of pictures on their canvases.
      tokenizer: tokenizer of the system.

    Raises:
      ValueError: the views contradict each other.
    """
    views.check(display.views)
    self._sources = sources
    self._faults = faults
    self._display = display
    self._form = form
    self._tokenizer = tokenizer
    self._buffers = Buffers()

  def __call__(self, draws: Sequence[Draw]) -> Batch:
    """Makes a batch.

    Args:
      draws: one draw an example.

    Returns:
      Leaves of each view.

    Raises:
      TooManyFaults: many bad records in a row, or too many in total.
      ShowError: `show` returned something that the views do not allow.
    """
    shows, count = self._display, len(draws)
    pictures = sum(map(views.draws, shows.views.values()))
    keys = np.array([draw.seed for draw in draws])
    random = uniforms(keys, shows.draws + pictures)
    numbers, random = np.split(random, [shows.draws], axis=1)

    self._faults.seen(count)
    # Reading first and decoding afterwards is faster than alternating.
    fetched = [self._fetch(draw) for draw in draws]
    room = place.room(shows.views, count, self._form.canvas, self._buffers)

    def fill(record: Record, example: int) -> dict[str, Shown]:
      found = shows.show(record, numbers[example])
      shown = views.checked(shows.views, found)
      place.place(record, shown, room, example, self._form)
      return shown

    shown = [
      record.use(functools.partial(fill, example=example))
      for example, record in enumerate(fetched)
    ]
    return pack(shows.views, shown, room, random, self._tokenizer)

  def _fetch(self, draw: Draw) -> Fetched:
    report = functools.partial(self._faults.add, draw.seed[1])
    return Fetched(self._sources[draw.source], draw.record, report)


def names(
  sources: Sequence[TarSource],
  weights: Sequence[float],
  seed: int,
  positions: range,
  display: Display = _WHOLE_ONLY,
) -> list[str]:
  """Finds the shards and keys of the examples at some positions.

  Records are read and decoded, since a bad one is replaced by another.

  Args:
    sources: sources of the records.
    weights: how often to draw from each source, relative to the others.
    seed: seed of the order.
    positions: positions of the examples.
    display: what a batch shows of a record, as for `MakeBatch`.

  Returns:
    Name of the record of each example, followed by those of the bad ones that
    it replaces.
  """
  order = Order([len(source) for source in sources], weights, seed)
  draws = [order(position) for position in positions]
  keys = np.array([draw.seed for draw in draws]).reshape(-1, 2)
  name = functools.partial(_name, sources, display)
  with ThreadPoolExecutor(_READERS) as pool:
    return list(pool.map(name, draws, uniforms(keys, display.draws)))


def _name(
  sources: Sequence[TarSource],
  display: Display,
  draw: Draw,
  numbers: np.ndarray,
) -> str:
  """Finds the name of the record of a draw, and of the bad ones before it."""
  bad = []

  def report(name: str, error: Exception) -> None:
    storage.raise_if_exhausted(error)
    bad.append(name)

  def look(record: Record) -> None:
    shown = views.checked(display.views, display.show(record, numbers))
    for image in place.encoded(record, shown, display.views):
      images.decode(image)

  try:
    fetched = Fetched(sources[draw.source], draw.record, report)
    fetched.use(look)
  except TooManyFaults:
    return bad[0]
  return ", in place of ".join([fetched.name, *bad])


def batches(
  sources: Sequence[TarSource],
  make: MakeBatch,
  *,
  weights: Sequence[float],
  batch_size: int,
  seed: int,
  examples_seen: int,
  threads: int,
  prefetch: int,
  process_index: int = 0,
  process_count: int = 1,
) -> grain.DatasetIterator[Batch]:
  """Iterates over the batches of this host, from a global position on.

  Args:
    sources: sources of the records; each is shuffled anew in each of its
      epochs.
    make: makes a batch from its draws.
    weights: how often to draw from each source, relative to the others.
    batch_size: examples in a batch of this host.
    seed: seed of the order and of the examples.
    examples_seen: global position to start from.
    threads: number of threads; each makes one batch at a time.
    prefetch: number of batches to make ahead.
    process_index: number of this host.
    process_count: number of hosts.

  Returns:
    Endless iterator of batches; `close` ends its threads.
  """
  order = Order([len(source) for source in sources], weights, seed)

  def make_at(number: int) -> Batch:
    start = examples_seen + number * batch_size * process_count
    end = start + batch_size * process_count
    positions = range(start + process_index, end, process_count)
    return make([order(position) for position in positions])

  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=prefetch
  )
  endless = grain.MapDataset.range(sys.maxsize)
  return iter(endless.map(make_at).to_iter_dataset(options))
