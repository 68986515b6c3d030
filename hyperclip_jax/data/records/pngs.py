"""PNG files without what nothing here reads."""

START = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def without_texts(data: bytes) -> bytes:
  """A PNG without its texts and its colour profile.

  Pillow unpacks them, and refuses a picture for having a megabyte of them.
  """
  kept, start, position = [], 0, len(START)
  while position + 8 <= len(data):
    end = position + 12 + int.from_bytes(data[position : position + 4], "big")
    if data[position + 4 : position + 8] in _TEXTS:
      kept.append(data[start:position])
      start = end
    position = end
  return b"".join([*kept, data[start:]]) if kept else data
