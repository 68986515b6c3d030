"""Images are downloaded where asked for, within bounds."""

import http.server
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

import hyperclip_jax
from hyperclip_jax.inference import inputs
from tests.inference.test_model import pictures


def png(array):
  buffer = io.BytesIO()
  Image.fromarray(array).save(buffer, "PNG")
  return buffer.getvalue()


PNG = png(pictures(1)[0])


class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    if self.path == "/gone.png":
      return self.send_error(404)
    if self.path in ("/moved.png", "/file.png", "/ftp.png"):
      self.send_response(302)
      place = {
        "/moved.png": "/a.png",
        "/file.png": "file:///etc/passwd",
        "/ftp.png": "ftp://localhost/a.png",
      }[self.path]
      self.send_header("Location", place)
      return self.end_headers()
    self.send_response(200)
    if self.path == "/cut.png":
      self.send_header("Content-Length", str(len(PNG) + 10))
    self.end_headers()
    if self.path == "/slow.png":
      for _ in range(50):
        self.wfile.write(b"x")
        time.sleep(0.02)
    elif self.path == "/endless.png":
      for _ in range(1000):
        self.wfile.write(bytes(10_000))
    else:
      self.wfile.write(PNG)
    return None

  def log_message(self, *args):
    pass


class Server(http.server.ThreadingHTTPServer):
  def handle_error(self, request, client_address):
    """Says nothing of clients that give up."""


@pytest.fixture(scope="module")
def server():
  with Server(("127.0.0.1", 0), Handler) as found:
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    thread.join()


@pytest.mark.parametrize("name", ["a.png", "moved.png"])
def test_an_image_is_downloaded(server, name):
  data = hyperclip_jax.fetch_image(f"{server}/{name}")
  assert data == PNG
  np.testing.assert_array_equal(inputs.pixels(data), pictures(1)[0])


@pytest.mark.parametrize(
  ("name", "error", "message"),
  [
    ("gone.png", OSError, "gone.png: not downloaded: .*404"),
    ("slow.png", OSError, "slow.png: not downloaded in 0.3 seconds"),
    ("endless.png", ValueError, "endless.png: larger than 100,000 bytes"),
    ("cut.png", OSError, "cut.png: not downloaded: .*10"),
    ("file.png", OSError, "file.png: not downloaded: .*file:"),
    ("ftp.png", OSError, "ftp.png: not downloaded: "),
  ],
)
def test_bounds_are_kept(server, name, error, message):
  with pytest.raises(error, match=message):
    hyperclip_jax.fetch_image(f"{server}/{name}", timeout=0.3, most=100_000)


@pytest.mark.parametrize(
  "url", ["file:///etc/passwd", "ftp://a/b", "a.png", "", "data:image/png,x"]
)
def test_other_addresses_are_refused(url):
  with pytest.raises(ValueError, match=r"want an address of http://"):
    hyperclip_jax.fetch_image(url)


def test_a_server_that_is_not_there_is_named():
  with pytest.raises(OSError, match=r"http://127.0.0.1:9/a: not downloaded"):
    hyperclip_jax.fetch_image("http://127.0.0.1:9/a", timeout=5)


def test_no_other_function_downloads():
  with pytest.raises(ValueError, match=r"unless asked for; .*fetch_image"):
    inputs.images(["https://example.org/a.png"])
