"""Downloads images, where asked for: no other function opens an address."""

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import NoReturn

import hyperclip_jax
from hyperclip_jax.files import shown

MOST = 50_000_000  # bytes of an image
TIMEOUT = 20.0  # seconds, in all
CHUNK = 65_536
SCHEMES = ("http", "https")


def fetch_image(
  url: str, timeout: float | int = TIMEOUT, most: int = MOST
) -> bytes:
  """Downloads an image; `encode_image` and others take the result.

  Redirections are followed, to http and https alone. A server should not
  download what its users name: they could reach hosts that only it can.

  Args:
    url: address that starts with http:// or https://.
    timeout: seconds after which to give up, for all of it.
    most: largest size in bytes.

  Returns:
    The bytes that the server sent; they may be no image.

  Raises:
    TypeError: the address is not a string.
    ValueError: it is another kind of address, or the image is larger.
    OSError: it cannot be downloaded.
  """
  if not isinstance(url, str):
    raise TypeError(f"url is of type {type(url).__name__}: give a string")
  name = shown(url)
  if urllib.parse.urlsplit(url).scheme.lower() not in SCHEMES:
    raise ValueError(f"{name}: want an address of http:// or https://")
  agent = f"hyperclip-jax/{hyperclip_jax.__version__}"
  request = urllib.request.Request(url, headers={"User-Agent": agent})
  end = time.monotonic() + timeout
  try:
    with _opener().open(request, timeout=timeout) as answer:
      return _read(answer, name, end, most)
  except TimeoutError as error:
    _late(name, timeout, error)
  except (OSError, http.client.HTTPException) as error:  # URLError is one
    if isinstance(getattr(error, "reason", None), TimeoutError):
      _late(name, timeout, error)
    raise OSError(f"{name}: not downloaded: {shown(error)}") from error


def _late(name: str, timeout: float | int, error: Exception) -> NoReturn:
  raise OSError(f"{name}: not downloaded in {timeout:g} seconds") from error


def _read(
  answer: http.client.HTTPResponse, name: str, end: float, most: int
) -> bytes:
  """Reads an answer, in pieces, since each may come just before the end."""
  parts, left = [], most
  while part := answer.read1(CHUNK):
    parts.append(part)
    left -= len(part)
    if left < 0:
      raise ValueError(f"{name}: larger than {most:,} bytes")
    if time.monotonic() > end:
      raise TimeoutError
  if answer.length:  # what was promised and did not come
    raise OSError(f"{answer.length:,} bytes are missing at the end")
  return b"".join(parts)


def _opener() -> urllib.request.OpenerDirector:
  """Makes an opener without files and FTP, also after a redirection."""
  opener = urllib.request.OpenerDirector()
  for kind in (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.UnknownHandler,
  ):
    opener.add_handler(kind())
  return opener
