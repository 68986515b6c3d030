"""The commands shapes, digits, photos and emoji: small data sets."""

import argparse

from hyperclip_jax.commands.door import fail
from hyperclip_jax.data.embedded import digits as digits_lib
from hyperclip_jax.data.embedded import photos as photos_lib
from hyperclip_jax.data.embedded import shapes as shapes_lib
from hyperclip_jax.data.emoji import generate as emoji_lib


def shapes(options: argparse.Namespace) -> None:
  """Writes the data set of coloured shapes."""
  try:
    shapes_lib.generate(
      options.output,
      train=options.train,
      val=options.val,
      objects=options.objects,
      image_size=options.image_size,
      seed=options.seed,
      shard_size=options.shard_size,
    )
  except (ValueError, OSError) as error:
    fail(error)


def digits(options: argparse.Namespace) -> None:
  """Writes the handwritten digits and prints the folder."""
  try:
    print(digits_lib.write(options.output, options.imbalance))
  except (ImportError, ValueError, OSError) as error:
    fail(error)


def photos(options: argparse.Namespace) -> None:
  """Writes the photographs and prints the path."""
  try:
    print(photos_lib.write(options.output))
  except (ImportError, ValueError, OSError) as error:
    fail(error)


def emoji(options: argparse.Namespace) -> None:
  """Writes the data set of emoji."""
  try:
    emoji_lib.generate(
      options.output,
      options.packages,
      wordnet=options.wordnet,
      openmoji=options.openmoji,
      train=options.train,
      val=options.val,
      image_size=options.image_size,
      seed=options.seed,
      shard_size=options.shard_size,
    )
  except (ImportError, ValueError, OSError) as error:
    fail(error)
