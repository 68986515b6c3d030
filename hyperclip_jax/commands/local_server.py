"""Serves a gradio page, by default to this machine only.

Clients can send any path and any header. The page opens only files that were
uploaded to its own folder, and answers only requests that do not come from
another web page and, unless it is served to others, name this machine.
"""

import importlib
import os
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

HOST = "127.0.0.1"
LARGEST_UPLOAD = 2**26  # bytes
KEPT = (600, 86_400)  # seconds: between deletions of uploads, their largest age

# Any port: a tunnel may have another number at its other end.
_LOCAL = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")


def is_own(method: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
  """Checks that a request comes from the page itself.

  A form of another site, which could upload but not read, is recognised by
  `Origin`.

  Args:
    method: HTTP method; "GET" changes nothing, whatever its origin.
    headers: headers of the request, names in lower case, as in an ASGI scope.

  Returns:
    Whether to answer the request.
  """
  found = [*headers]
  hosts = [value.lower() for name, value in found if name == b"host"]
  origins = [value.lower() for name, value in found if name == b"origin"]
  return len(hosts) == 1 and (
    method in ("GET", "HEAD")
    or all(
      origin in (b"http://" + hosts[0], b"https://" + hosts[0])
      for origin in origins
    )
  )


def is_local(method: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
  """Checks that a request comes from the page itself, on this machine.

  A browser sends the name in its address bar as `Host`. Another site can make
  its name resolve to this machine (DNS rebinding), but the name is then not
  "localhost".

  Args:
    method: as for `is_own`.
    headers: as for `is_own`.

  Returns:
    Whether to answer the request.
  """
  found = [*headers]
  hosts = [value.lower() for name, value in found if name == b"host"]
  return is_own(method, found) and _LOCAL.fullmatch(hosts[0]) is not None


class Guarded:
  """ASGI middleware that answers 403 to requests that a rule refuses."""

  def __init__(
    self,
    app: Callable[..., Awaitable[None]],
    answers: Callable[[str, Iterable[tuple[bytes, bytes]]], bool] = is_local,
  ):
    self._app, self._answers = app, answers

  async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
    kind = scope["type"]
    # A web socket has no method, and may change state.
    method = scope.get("method", "")
    if kind == "lifespan" or self._answers(method, scope["headers"]):
      await self._app(scope, receive, send)
    elif kind == "http":
      plain = [(b"content-type", b"text/plain")]
      start = {"type": "http.response.start", "status": 403, "headers": plain}
      body = b"This page is served to its own machine only: open localhost.\n"
      if self._answers is is_own:
        body = b"Another page may not send requests to this one.\n"
      await send(start)
      await send({"type": "http.response.body", "body": body})
    else:
      await send({"type": "websocket.close", "code": 1008})


def serve(
  blocks: Any,
  port: int,
  css: str = "",
  host: str = HOST,
  share: bool = False,
) -> str:
  """Starts to serve gradio's `blocks`.

  Args:
    blocks: page; `close` stops it.
    port: TCP port to listen on.
    css: style sheet of the page.
    host: address to listen on; another than `HOST` lets others use the page.
    share: whether to make a public link, through a server of gradio.

  Returns:
    Address of the page, or its public link.

  Raises:
    OSError: the port is in use, or no public link can be made.
  """
  gr: Any = importlib.import_module("gradio")
  middleware: Any = importlib.import_module("starlette.middleware")
  sans = ("system-ui", "sans-serif")
  answers = is_own if share or host != HOST else is_local
  try:
    _, address, link = blocks.launch(
      server_name=host,
      server_port=port,
      share=share,
      ssr_mode=False,
      prevent_thread_lock=True,
      quiet=True,
      max_file_size=LARGEST_UPLOAD,
      app_kwargs={
        "middleware": [middleware.Middleware(Guarded, answers=answers)]
      },
      css=css,
      # System fonts: the page sends no request to another server.
      theme=gr.themes.Default(primary_hue="blue", font=sans, font_mono=sans),
    )
  except OSError as error:
    raise OSError(
      f"{host}:{port} cannot be listened on ({error}): give another --port"
    ) from error
  if share and not link:
    blocks.close(verbose=False)
    raise OSError("gradio's server made no public link: is it reachable?")
  return link or address


def use_folder(folder: str) -> None:
  """Makes gradio store uploads in `folder`, and turns its analytics off."""
  os.environ["GRADIO_TEMP_DIR"] = folder
  os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def stop_signal() -> threading.Event:
  """Makes an event that Ctrl-C, SIGTERM and SIGHUP set.

  The caller waits for it, and then removes uploads.
  """
  stop = threading.Event()
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda *_: stop.set())
  return stop
