"""Decodes JPEG files that are complete although libjpeg warns.

libjpeg warns of anything unusual, and its message is the only clue to what it
was. Some warnings leave every pixel intact: bytes between two segments or after
the image data, no end marker, an unknown revision of JFIF. Such a file is
rewritten without the oddity and decoded strictly, so that any other fault is
still detected, above all data that end before the last row. Damage within the
entropy-coded data is rarely detected: most of it decodes to an image with a
wrong part.
"""

import collections
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

START = b"\xff\xd8"  # the first bytes of every JPEG
_END = b"\xff\xd9"
_SOS, _APP0, _APP1, _ADOBE = 0xDA, 0xE0, 0xE1, 0xEE
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)  # frames whose scans have all coefficients
_FRAMES = (*_SEQUENTIAL, 0xC2, 0xCA)
_ALONE = (0x01, *range(0xD0, 0xD8))  # markers without a length
_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_SURPLUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_TRIES = 32  # places searched for surplus bytes


def decode(data: bytes, strictly: Callable[[bytes], T]) -> T:
  """Decodes a JPEG; one with a warning only if it has all its pixels.

  Args:
    data: encoded image.
    strictly: decoder that raises ValueError with libjpeg's message on any
      warning.

  Returns:
    Result of `strictly`.

  Raises:
    ValueError: error of `strictly`.
  """
  try:
    return strictly(data)
  except ValueError as error:
    mended = _rewritten(data)
    if mended is None:
      raise
    return _without_surplus(mended, strictly, error)


def size(data: bytes) -> tuple[int, int] | None:
  """Reads width and height from a JPEG's frame header; None if it has none."""
  for marker, segment in _segments(data):
    if marker in _FRAMES and len(segment) > 8:
      height, width = segment[5:7], segment[7:9]
      return int.from_bytes(width, "big"), int.from_bytes(height, "big")
  return None


def without_exif(data: bytes) -> bytes:
  """Removes the EXIF segments of a JPEG, which hold its orientation."""
  kept = [
    segment
    for marker, segment in _segments(data)
    if marker != _APP1 or segment[4:10] != b"Exif\0\0"
  ]
  return START + b"".join(kept)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
  """Yields the marker and bytes of each segment; a scan includes its data.

  Bytes between segments and after the end marker are left out. The last segment
  has marker 0 if there is no end marker.
  """
  position = 2
  while match := _MARKER.search(data, position):
    marker, start = match[1][0], match.end() - 2
    position = match.end()
    if data[start:position] == _END:
      yield marker, _END
      return
    if marker in _ALONE:
      continue
    end = position + int.from_bytes(data[position : position + 2], "big")
    if not position + 2 <= end <= len(data):
      break
    if marker == _SOS:
      after = _AFTER_SCAN.search(data, end)
      end = after.start() if after else len(data)
    yield marker, data[start:end]
    position = end
  yield 0, b""


def _rewritten(data: bytes) -> bytes | None:
  """Rewrites a file without harmless oddities; None if it is truncated."""
  frame, needed = b"", dict[int, int]()
  written = [START]
  for marker, segment in _segments(data):
    if marker in _FRAMES:
      frame = segment
      # for each component, a bit for each of the 64 coefficients still missing
      needed = dict.fromkeys(segment[10::3], (1 << 64) - 1)
    elif marker == _APP0 and segment[4:9] == b"JFIF\0" and len(segment) > 9:
      segment = segment[:9] + b"\1" + segment[10:]
    elif marker == _ADOBE and segment[4:9] == b"Adobe":
      segment = _known_colours(segment, len(needed) or _components(data))
    elif marker == _SOS and frame:
      segment = _scan(segment, frame[1] in _SEQUENTIAL, needed)
    elif marker == 0:
      return None
    written.append(segment)
    if frame and not any(needed.values()):  # no scan is missing
      return b"".join([*written, _END])
  return b"".join(written)


def _scan(segment: bytes, sequential: bool, needed: dict[int, int]) -> bytes:
  """Marks a scan's coefficients as present; normalises sequential scans."""
  count = segment[4] if len(segment) > 4 else 0
  place = 5 + 2 * count  # offset of the first and last coefficient, and bits
  if len(segment) < place + 3:
    return segment
  if sequential:
    segment = segment[:place] + b"\0\x3f\0" + segment[place + 3 :]
  first, last, bits = segment[place : place + 3]
  if not bits & 15:  # includes the lowest bit
    brought = (2 << min(last, 63)) - (1 << min(first, 63))
    for number in segment[5:place:2]:
      needed[number] = needed.get(number, 0) & ~brought
  return segment


def _components(data: bytes) -> int:
  """Returns the number of colour components in the frame header."""
  frames = (s for marker, s in _segments(data) if marker in _FRAMES)
  return len(next(frames, b"")[10::3])


def _known_colours(segment: bytes, components: int) -> bytes:
  """Sets the colour transform in Adobe's segment to what libjpeg assumes."""
  usual = {3: 1, 4: 2}.get(components)
  if usual is None or len(segment) < 16 or segment[15] in (0, usual):
    return segment
  return segment[:15] + bytes([usual]) + segment[16:]


def _without_surplus(
  data: bytes, strictly: Callable[[bytes], T], error: ValueError
) -> T:
  """Decodes a file without the surplus bytes before a marker.

  After the last block of a scan a decoder looks for the next marker, and warns
  with the number of bytes skipped. The scan was complete then.
  """
  waiting = collections.deque([(data, "")])
  for _ in range(_TRIES):
    if not waiting:
      break
    data, before = waiting.popleft()
    try:
      return strictly(data)
    except ValueError as found:
      message = str(found)
    surplus = _SURPLUS.search(message)
    if surplus and message != before:
      shorter = _shortened(data, int(surplus[1]), int(surplus[2], 16))
      waiting.extend((each, message) for each in shorter)
  raise error


def _shortened(data: bytes, count: int, marker: int) -> Iterator[bytes]:
  """Yields the file without `count` bytes before each such marker of its scans.

  The decoder's warning does not say which of the markers it was.
  """
  sought = bytes([0xFF, marker])
  start = data.find(bytes([0xFF, _SOS])) + 2
  position = data.find(sought, start)
  for _ in range(_TRIES):
    if position < 0:
      return
    yield data[: max(position - count, start)] + data[position:]
    position = data.find(sought, position + 2)
