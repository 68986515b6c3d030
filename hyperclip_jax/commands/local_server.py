"""Serves a gradio page to this machine only, and restricts what it may read.

Clients can send any path and any header. The page opens only files that were
uploaded to its own folder, and answers only requests that name this machine and
do not come from another web page.
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


def is_local(method: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
  """Checks that a request comes from the page itself, on this machine.

  A browser sends the name in its address bar as `Host`. Another site can make
  its name resolve to this machine (DNS rebinding), but the name is then not
  "localhost". A form of another site, which could upload but not read, is
  recognised by `Origin`.

  Args:
    method: HTTP method; "GET" changes nothing, whatever its origin.
    headers: headers of the request, names in lower case, as in an ASGI scope.

  Returns:
    Whether to answer the request.
  """
  found = [*headers]
  hosts = [value.lower() for name, value in found if name == b"host"]
  origins = [value.lower() for name, value in found if name == b"origin"]
  return (
    len(hosts) == 1
    and _LOCAL.fullmatch(hosts[0]) is not None
    and (
      method in ("GET", "HEAD")
      or all(origin == b"http://" + hosts[0] for origin in origins)
    )
  )


class LocalOnly:
  """ASGI middleware that answers 403 unless `is_local`."""

  def __init__(self, app: Callable[..., Awaitable[None]]):
    self._app = app

  async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
    kind = scope["type"]
    # A web socket has no method, and may change state.
    method = scope.get("method", "")
    if kind == "lifespan" or is_local(method, scope["headers"]):
      await self._app(scope, receive, send)
    elif kind == "http":
      plain = [(b"content-type", b"text/plain")]
      start = {"type": "http.response.start", "status": 403, "headers": plain}
      body = b"This page is served to its own machine only: open localhost.\n"
      await send(start)
      await send({"type": "http.response.body", "body": body})
    else:
      await send({"type": "websocket.close", "code": 1008})


def serve(blocks: Any, port: int, css: str = "") -> str:
  """Starts to serve gradio's `blocks` to this machine.

  Args:
    blocks: page; `close` stops it.
    port: TCP port to listen on.
    css: style sheet of the page.

  Returns:
    Address of the page.

  Raises:
    OSError: the port is in use.
  """
  gr: Any = importlib.import_module("gradio")
  middleware: Any = importlib.import_module("starlette.middleware")
  sans = ("system-ui", "sans-serif")
  try:
    _, address, _ = blocks.launch(
      server_name=HOST,
      server_port=port,
      share=False,
      ssr_mode=False,
      prevent_thread_lock=True,
      quiet=True,
      max_file_size=LARGEST_UPLOAD,
      app_kwargs={"middleware": [middleware.Middleware(LocalOnly)]},
      css=css,
      # System fonts: the page sends no request to another server.
      theme=gr.themes.Default(primary_hue="blue", font=sans, font_mono=sans),
    )
  except OSError as error:
    raise OSError(f"port {port} is taken: give another --port") from error
  return address


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
