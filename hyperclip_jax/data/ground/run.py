"""Grounds image-caption pairs: writes raw GRIT tars with boxes for phrases.

  hyperclip ground --input 'pairs/*.tar' --output grounded/ --detector DIR

and `--spacy_model NAME`. Inputs are those of `prepare`, boxes or none: tars of
images with texts, raw tars, tables of image files and captions, JSONs. Each
makes one shard, in sorted order; see `shard`. Boxes that an input has are
replaced.

Captions are parsed by processes of the CPU while this process detects. Several
workers, one for each GPU, may share the output folder. A run may be killed at
any time; the same command continues it.
"""

import collections
import contextlib
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from hyperclip_jax.data.ground import detect, text
from hyperclip_jax.data.ground import options as options_lib
from hyperclip_jax.data.ground.options import Options
from hyperclip_jax.data.ground.shard import Tools, ground_shard
from hyperclip_jax.data.ground.text import Parsed
from hyperclip_jax.data.prepare import inputs
from hyperclip_jax.data.prepare import run as run_lib

_AHEAD = 2  # chunks of captions waiting for each parsing process


class Settings(NamedTuple):
  """What grounds the pairs, and where.

  Attributes:
    detector: folder of a detector, or its name on the hub.
    parser: name of a spaCy model, or its folder.
    abstract: file of abstract nouns.
    device: device of torch; "" for a GPU if there is one.
    batch_size: images that the detector takes at once.
    tokens: one of `detect.SUM`.
  """

  detector: str
  parser: str
  abstract: str = str(text.ABSTRACT)
  device: str = ""
  batch_size: int = 8
  tokens: str = "max"


def resolved(settings: Settings, options: Options) -> Options:
  """Fills in what identifies parser and detector, and the threshold.

  Args:
    settings: parser and detector.
    options: other options; a negative threshold stands for the detector's.

  Returns:
    Options of the folder.

  Raises:
    ValueError, OSError, ModuleNotFoundError: parser, detector or list are
      missing or unfit.
  """
  model = detect.find(settings.detector)
  parser = text.load(settings.parser)
  abstract = "\n".join(sorted(_abstract(settings.abstract)))
  low = options.threshold < 0
  return options._replace(
    detector=os.path.basename(model.path.rstrip("/")),
    weights=model.digest,
    parser=" ".join(parser.meta[name] for name in ("name", "version")),
    abstract=hashlib.sha256(abstract.encode()).hexdigest()[:16],
    threshold=model.kind.threshold if low else options.threshold,
    tokens=settings.tokens,
  )


def ground(
  patterns: Sequence[str],
  folder: str,
  options: Options,
  tools: Callable[[], Tools],
  *,
  images: str | None = None,
  skip_bad: bool = False,
  worker: tuple[int, int] = (0, 1),
  beam_args: Sequence[str] | None = None,
) -> dict[str, Any]:
  """Makes the shards of some inputs, except those that already exist.

  Args:
    patterns: paths or globs of tars, tables and JSONs.
    folder: output folder, which may be partly filled.
    options: options of every shard.
    tools: returns parser and detector; it is called when there is a shard to
      make, and with Beam on its workers.
    images: folder of the images of a JSON or table; None for its own.
    skip_bad: whether to leave out damaged inputs instead of raising.
    worker: number of this process and of all that share the folder.
    beam_args: flags of Apache Beam, which then makes the shards; None for this
      machine.

  Returns:
    The manifest; of several workers, that of the shards made so far.

  Raises:
    ValueError, OSError, ModuleNotFoundError, RuntimeError: inputs, options and
      folder do not fit together, an input is damaged, or a process died.
  """
  options_lib.validate(options)
  sources = inputs.find(patterns, images, options.shard_size)
  return run_lib.make(
    sources,
    folder,
    options,
    functools.partial(ground_shard, tools=tools),
    skip_bad=skip_bad,
    jobs=1,
    worker=worker,
    beam_args=beam_args,
  )


@functools.cache
def load(settings: Settings) -> Tools:
  """Loads parser and detector into this process, once."""
  return Tools(parsing(settings), _detector(settings))


@contextlib.contextmanager
def pooled(settings: Settings, jobs: int) -> Iterator[Callable[[], Tools]]:
  """Context manager of tools that parse in other processes.

  Args:
    settings: parser and detector.
    jobs: number of processes that parse.

  Yields:
    Function that returns the tools.
  """
  with run_lib.workers(jobs) as pool:

    def parse(chunks: Iterable[Sequence[str]]) -> Iterator[Sequence[Parsed]]:
      waiting = collections.deque()
      for chunk in chunks:
        waiting += run_lib.submit(pool, parse_chunk, [(settings, chunk)])
        if len(waiting) > _AHEAD * jobs:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()

    yield functools.cache(lambda: Tools(parse, _detector(settings)))


def parsing(
  settings: Settings,
) -> Callable[[Iterable[Sequence[str]]], Iterator[Sequence[Parsed]]]:
  """Returns a function that parses in this process."""
  return lambda chunks: (parse_chunk((settings, chunk)) for chunk in chunks)


def parse_chunk(job: tuple[Settings, Sequence[str]]) -> list[Parsed]:
  """Parses captions, in any process."""
  settings, captions = job
  parser = _parser(settings.parser)
  return list(text.parse(parser, captions, _abstract(settings.abstract)))


def _detector(settings: Settings) -> detect.Detect:
  model = detect.find(settings.detector)
  return detect.load(
    model, settings.device, settings.batch_size, settings.tokens
  )


@functools.cache
def _parser(name: str) -> Any:
  return text.load(name)


@functools.cache
def _abstract(path: str) -> frozenset[str]:
  return text.read_abstract(pathlib.Path(path))
