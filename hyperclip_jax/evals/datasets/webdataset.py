"""Reads data sets that clip-benchmark and DataComp publish as tars.

A data set is a folder:

  classnames.txt                        a class a line, in the order of labels
  zeroshot_classification_templates.txt a prompt a line, with {c} for the name
  test/nshards.txt                      number of tars
  test/0.tar, test/1.tar, ...           KEY.jpg (or webp, png) with KEY.cls, the
                                        label; KEY.npy, numbers such as the
                                        region; or KEY.txt, a caption a line

Folders of DataComp end in _test, and have no other split. Where there are no
tars, SPLIT/CLASS/*.jpg are read, with classes in the order of their names.
"""

import io
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.data.records.readers import IMAGE_SUFFIXES
from hyperclip_jax.data.records.tars import Member, groups
from hyperclip_jax.files import lines, read_text, shown
from hyperclip_jax.inference.inputs import decode

NAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
COUNT = "nshards.txt"


class Row(NamedTuple):
  """A record of a tar.

  Attributes:
    where: names it in messages.
    image: encoded image.
    members: other members by suffix.
  """

  where: str
  image: Member
  members: dict[str, Member]

  def pixels(self) -> Pixels:
    """Decodes the image, turned upright.

    Raises:
      ImageError: it cannot be decoded.
      OSError: it cannot be read.
    """
    return decode(self.image.read(), self.where, upright=True)

  def label(self) -> int:
    """Reads the label.

    Raises:
      ValueError: it is not a number.
      OSError: it cannot be read.
    """
    text = self.members["cls"].read()
    if not text.strip().isdigit():
      raise ValueError(f"{self.where}: cls is {text[:20]!r}, not a number")
    return int(text)

  def group(self) -> int:
    """Reads the group, such as a region: the first number of KEY.npy.

    Raises:
      ValueError: it is not a whole number.
      OSError: it cannot be read.
    """
    data = self.members["npy"].read()
    try:
      found = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
      first = float(found.flat[0])
      if not first.is_integer():
        raise ValueError(f"its first number is {first}")
    except (
      ValueError,
      TypeError,
      IndexError,
      MemoryError,
    ) as error:
      raise ValueError(
        f"{self.where}: npy does not begin with a group: {shown(error)}"
      ) from error
    return int(first)

  def captions(self) -> list[str]:
    """Reads the captions, without blank lines.

    Raises:
      ValueError: there is none.
      OSError: they cannot be read.
    """
    text = self.members["txt"].read().decode("utf-8", "replace")
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
      raise ValueError(f"{self.where}: txt has no caption")
    return found


def tars(folder: pathlib.Path) -> list[pathlib.Path]:
  """Lists the tars of a split, in the order of their numbers.

  Args:
    folder: folder of the split.

  Returns:
    Paths; none if the folder has no tar.

  Raises:
    ValueError: nshards.txt counts others.
    OSError: nshards.txt cannot be read.
  """
  found = sorted(folder.glob("*.tar"), key=lambda path: _number(path.stem))
  path = folder / COUNT
  if found and path.exists():
    text = read_text(path).strip()
    if text != str(len(found)):
      raise ValueError(
        f"{path} says {shown(text)}, but there are {len(found)} tars: download "
        f"the others"
      )
  return found


def rows(paths: Sequence[pathlib.Path], needs: Sequence[str]) -> list[Row]:
  """Lists the records of tars; nothing but headers is read.

  Args:
    paths: tars.
    needs: suffixes that every record has besides an image.

  Returns:
    Records in the order of the tars.

  Raises:
    ValueError: a tar is damaged, or a record lacks an image or suffix.
    OSError: a tar cannot be read.
  """
  found = []
  for path in paths:
    for key, members in groups(str(path)):
      image = next((members[s] for s in IMAGE_SUFFIXES if s in members), None)
      if image is None or not members.keys() >= {*needs}:
        raise ValueError(
          f"{path}: record {shown(repr(key))} has "
          f"{shown(', '.join(sorted(members)))}; expected an image "
          f"({', '.join(IMAGE_SUFFIXES)}) and {', '.join(needs)}"
        )
      found.append(Row(f"{path}: record {shown(repr(key))}", image, members))
  return found


def class_names(folder: pathlib.Path) -> tuple[str, ...]:
  """Reads the names of the classes.

  Args:
    folder: folder of the data set.

  Raises:
    OSError: the file cannot be read.
  """
  return _listed(folder / NAMES)


def templates(folder: pathlib.Path) -> tuple[str, ...]:
  """Reads the prompts, and puts {} where the name of a class goes.

  Args:
    folder: folder of the data set.

  Raises:
    ValueError: a prompt lacks {c}.
    OSError: the file cannot be read.
  """
  path = folder / TEMPLATES
  found = _listed(path)
  for text in found:
    if text.count("{c}") != 1:
      raise ValueError(
        f"{path}: {shown(repr(text))} must have {{c}} once, for the class"
      )
  return tuple(text.replace("{c}", "{}") for text in found)


def _listed(path: pathlib.Path) -> tuple[str, ...]:
  found = [line.strip() for line in lines(read_text(path))]
  return tuple(line for line in found if line)


def _number(stem: str) -> tuple[int, str]:
  """Returns a sort key that puts 2.tar before 10.tar."""
  return (int(stem) if stem.isdecimal() else -1, stem)
