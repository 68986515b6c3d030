"""PNG files without chunks that are not used."""

START = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def without_texts(data: bytes) -> bytes:
  """Removes texts and colour profile of a PNG.

  Pillow decompresses them, and rejects an image with more than a megabyte.
  """
  kept, start, position = [], 0, len(START)
  while position + 8 <= len(data):
    end = position + 12 + int.from_bytes(data[position : position + 4], "big")
    if data[position + 4 : position + 8] in _TEXTS:
      kept.append(data[start:position])
      start = end
    position = end
  return b"".join([*kept, data[start:]]) if kept else data
