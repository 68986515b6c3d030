"""Text files that are there whole or not at all."""

import os
import pathlib


def write_whole(
  path: str | os.PathLike[str], text: str, errors: str = "strict"
) -> None:
  """Writes a UTF-8 file in one step: whoever is killed leaves the old one.

  Args:
    path: of the file; its folder is there.
    text: its content.
    errors: as of `str.encode`: "replace" for text of the data, as half a
      surrogate pair has no UTF-8.
  """
  path = pathlib.Path(path)
  partial = path.with_name(f".{path.name}.partial")
  partial.write_bytes(text.encode(errors=errors))
  partial.replace(path)
