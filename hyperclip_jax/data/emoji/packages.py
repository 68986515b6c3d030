"""Reads emoji from the npm packages that draw and name them.

Nothing of the packages comes with this project. The command printed by a
message of a missing package fetches it:

  npm pack emoji-datasource-google@16.0.0

A package is a tar that `npm pack` left in a folder. Its licence is that of its
vendor: Noto Emoji (Google) Apache-2.0, Twemoji CC-BY 4.0, Fluent Emoji
(Microsoft) MIT, OpenMoji CC BY-SA 4.0.
"""

import csv
import io
import os
import pathlib
import tarfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hyperclip_jax.files import sha256, shown

LARGEST = 2**26  # bytes of a file of a package
TABLE = "package/data/openmoji.csv"


class Package(NamedTuple):
  """A package that was tested.

  Attributes:
    name: name and version for npm.
    digest: SHA-256 of the tar.
    pictures: folder of the pictures in the tar.
    suffix: ending of their names.
  """

  name: str
  digest: str
  pictures: str
  suffix: str

  @property
  def file(self) -> str:
    """Name that `npm pack` gives the tar."""
    name, _, version = self.name.rpartition("@")
    return f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"


PACKAGES = {
  "noto": Package(
    "emoji-datasource-google@16.0.0",
    "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "package/img/google/64/",
    ".png",
  ),
  "twemoji": Package(
    "emoji-datasource-twitter@16.0.0",
    "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    "package/img/twitter/64/",
    ".png",
  ),
  "fluent": Package(
    "@lobehub/fluent-emoji-3d@1.1.0",
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "package/assets/",
    ".webp",
  ),
  "openmoji": Package(
    "openmoji@17.0.0",
    "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
    "package/color/svg/",
    ".svg",
  ),
}
NPM = f"npm pack {' '.join(package.name for package in PACKAGES.values())}"


def find(folder: str | os.PathLike[str]) -> dict[str, pathlib.Path]:
  """Finds the packages in a folder and checks that they are those tested.

  Args:
    folder: folder with the tars that `npm pack` left.

  Returns:
    Path by vendor.

  Raises:
    FileNotFoundError: a package is missing; the message has the command.
    ValueError: a tar has other bytes than the one tested.
  """
  place = pathlib.Path(folder).expanduser()
  paths = {name: place / package.file for name, package in PACKAGES.items()}
  missing = [path.name for path in paths.values() if not path.is_file()]
  if missing:
    raise FileNotFoundError(
      f"--packages={shown(folder)} lacks {', '.join(missing)}; in that "
      f"folder, run\n  {NPM}"
    )
  for name, path in paths.items():
    digest = sha256(path)
    if digest != PACKAGES[name].digest:
      raise ValueError(
        f"{shown(path)} is not {PACKAGES[name].name}: its SHA-256 is {digest}, "
        f"wanted {PACKAGES[name].digest}; fetch it again"
      )
  return paths


def table(path: pathlib.Path) -> list[dict[str, str]]:
  """Reads OpenMoji's table of emoji.

  Args:
    path: tar of OpenMoji.

  Returns:
    Rows with `hexcode`, `group`, `subgroups`, `annotation`, `tags`, ...

  Raises:
    ValueError: the tar holds no such table.
  """
  for _, data in _members(path, lambda name: name == TABLE):
    return list(csv.DictReader(io.StringIO(data.decode("utf-8"))))
  raise ValueError(f"{shown(path)} has no {TABLE}")


def pictures(vendor: str, path: pathlib.Path) -> Mapping[str, bytes]:
  """Reads the pictures of a vendor.

  Args:
    vendor: key of `PACKAGES`.
    path: tar of the vendor.

  Returns:
    Bytes of each picture by the code points of its emoji, as `code` spells
    them.
  """
  package = PACKAGES[vendor]

  def wanted(name: str) -> bool:
    return name.startswith(package.pictures) and name.endswith(package.suffix)

  return {
    code(name.rpartition("/")[2].removesuffix(package.suffix)): data
    for name, data in _members(path, wanted)
  }


def code(text: str) -> str:
  """Spells code points as all vendors can: lower case, and no FE0F.

  Examples:
    >>> code("0031-FE0F-20E3")
    '0031-20e3'
  """
  return "-".join(part for part in text.lower().split("-") if part != "fe0f")


def _members(path: pathlib.Path, wanted) -> Iterator[tuple[str, bytes]]:
  try:
    with tarfile.open(path, "r:gz") as tar:
      for member in tar:
        if not member.isreg() or not wanted(member.name):
          continue
        file = tar.extractfile(member)
        if file is not None and member.size <= LARGEST:
          yield member.name, file.read()
  except (tarfile.TarError, EOFError, OSError) as error:
    raise ValueError(f"{shown(path)}: {error}") from None
