"""The demo page: what it answers, and that a browser shows it."""

import importlib.util
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import hyperclip_jax
from hyperclip_jax import demo, explore
from hyperclip_jax.reports import answer, cones
from hyperclip_jax.reports.markup import Markup
from tests.evals import saved
from tests.reports.reader import Reader
from tests.test_hyperclip import pictures

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module", params=["hycoclip", "clip"])
def loaded(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp("demo") / request.param
  saved.model(folder, request.param)
  return hyperclip_jax.load(folder), folder


@pytest.fixture
def begun(loaded):
  model, folder = loaded
  return model, demo.start(model, str(folder))


@pytest.fixture
def file(tmp_path):
  Image.fromarray(pictures(1)[0]).save(tmp_path / "one.png")
  return str(tmp_path / "one.png")


def test_a_run_on_the_embedded_data_brings_phrases_and_pictures(begun):
  _, begin = begun
  assert begin.phrases[0] == "thing"
  assert len(begin.examples) == demo.EXAMPLES
  assert len(begin.things.pictures) == len(begin.things.index) == 48


def test_an_answer_names_all_and_escapes(begun, file):
  model, begin = begun
  evil = "<script>alert(1)</script>"
  text = f"a red circle\n\n {evil} \na red circle"
  shown = demo.respond(model, begin.things, file, text)
  assert isinstance(shown, Markup)
  assert evil not in shown
  reader = Reader(shown)
  head = "distance" if model.hyperbolic else "cosine"
  assert set(reader.table) == {head, "a red circle", evil}
  assert "[ROOT]" in reader.text
  assert shown.count("data:image/svg+xml") == 1 + model.hyperbolic
  assert ("no cones" in reader.text) == (not model.hyperbolic)


def test_explore_agrees_with_the_model(begun):
  model, begin = begun
  image, phrases = pictures(1)[0], ["a cat", "a red circle", "thing"]
  found = explore.explore(model, image, phrases, begin.things)
  want = model.search_image(image, model.index_texts(phrases), 8)[0]
  assert [hit.row for hit in found.nearest] == [hit.row for hit in want]
  assert found.walk[-1].name == "root"
  if model.hyperbolic:
    texts = model.encode_text(phrases)
    margins = model.entailment_score(
      texts, np.repeat(model.encode_image([image]), 3, axis=0)
    )
    assert [cone.margin for cone in found.cones] == pytest.approx(
      sorted(margins), abs=1e-5
    )


@pytest.mark.parametrize("curv", [0.1, 1.0])
@pytest.mark.parametrize("aperture", [0.2, 1.0, 1.5])
def test_drawn_cones_hold_what_the_formula_says(curv, aperture):
  """Hyperbolic trigonometry, not the drawing's Moebius map, is the judge."""
  apex, path = 0.7, cones.outline(0.7, aperture, curv)
  rng = np.random.default_rng(0)
  from matplotlib.path import Path

  drawn = Path(np.stack([path.real, path.imag], axis=1))
  root = curv**0.5
  checked = 0
  for far, between in rng.uniform([0.1, 0], [3, np.pi], (200, 2)):
    a, b = root * apex, root * far
    third = np.arccosh(
      np.cosh(a) * np.cosh(b) - np.sinh(a) * np.sinh(b) * np.cos(between)
    )
    at_apex = np.arccos(
      np.clip(
        (np.cosh(a) * np.cosh(third) - np.cosh(b))
        / (np.sinh(a) * np.sinh(third)),
        -1,
        1,
      )
    )
    exterior = np.pi - at_apex
    if abs(exterior - aperture) > 0.02:  # The drawn arc is a polygon.
      z = cones.radius(far, curv) * np.exp(1j * between)
      inside = drawn.contains_point((z.real, z.imag))
      assert inside == (exterior < aperture)
      checked += 1
  assert checked > 150


def test_names_on_the_map_do_not_cover_each_other():
  x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
  names = [f"phrase {i}" for i in range(40)]
  drawn, _ = answer.labelled_map({"image": x[:1], "text": x}, names, 1.0, True)
  drawn.canvas.draw()
  (axes,) = drawn.axes
  boxes = [
    t.get_window_extent() for t in axes.texts if "phrase" in t.get_text()
  ]
  assert len(boxes) > 5
  assert "phrase 0" in [t.get_text() for t in axes.texts]
  for i, one in enumerate(boxes):
    assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def huge(path):
  """A PNG of 60 megapixels by its header, which is all that is read."""
  Image.new("1", (10_000, 6_000)).save(path)


@pytest.mark.parametrize(
  ("make", "text", "wanted"),
  [
    (None, "a cat", "no picture"),
    (lambda path: path.write_text("a cat"), "a cat", "a.png: cannot decode"),
    (huge, "a cat", "a.png: image of 10000 x 6000 pixels; the most is 50,000"),
    (lambda path: None, "a cat", "No such file"),
    (huge, " \n\n", "no phrases"),
    (huge, "\n".join(map(str, range(201))), "201 phrases are more than 200"),
  ],
)
def test_problems_are_told(begun, tmp_path, make, text, wanted):
  model, begin = begun
  path = tmp_path / "a.png"
  if make:
    make(path)
  shown = demo.respond(model, begin.things, str(path) if make else None, text)
  assert wanted in Reader(shown).text
  assert str(tmp_path) not in shown
  assert "problem" in shown


def test_an_index_is_met_with_pictures_where_names_are_files(loaded, file):
  model, folder = loaded
  path = pathlib.Path(file).with_name("own.index")
  model.index_images([file, pictures(2)[1]], [file, "gone.png"]).save(path)
  begin = demo.start(model, str(folder), path)
  assert [p is None for p in begin.things.pictures] == [False, True]
  hyperclip_jax.Index(np.zeros((1, 3)), ["x"], 1.0, "other").save(path)
  with pytest.raises(ValueError, match="another model's"):
    demo.start(model, str(folder), path)


def test_other_models_bring_phrases_of_their_own(loaded, tmp_path):
  model, _ = loaded
  model.save_pretrained(tmp_path / "release")
  begin = demo.start(model, str(tmp_path / "release"))
  assert begin == (demo.PHRASES, [], begin.things)
  assert not begin.things.pictures


def test_without_gradio_it_says_what_to_install(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(SystemExit, match=r"hyperclip-jax\[demo\]"):
    demo.main(["--model=none"])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_the_page(tmp_path):
  pytest.importorskip("gradio", reason="needs the extra demo")
  reason = "needs playwright, which drives chromium"
  playwright = pytest.importorskip("playwright.sync_api", reason=reason)
  folder = saved.model(tmp_path / "model")
  bad = tmp_path / "bad.png"
  bad.write_text("no image")
  command = [sys.executable, "-u", "-m", "hyperclip_jax.demo"]
  with (
    subprocess.Popen(
      [*command, f"--model={folder}", f"--port={free_port()}"],
      stdout=subprocess.PIPE,
      text=True,
    ) as server,
    playwright.sync_playwright() as driver,
  ):
    try:
      assert server.stdout is not None
      lines = iter(server.stdout.readline, "")
      found = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in lines)
      address = next(match[0] for match in found if match)
      browser = driver.chromium.launch(
        executable_path=CHROMIUM, args=["--no-sandbox"]
      )
      page = browser.new_page()
      page.set_default_timeout(120_000)
      asked = []
      page.on("request", lambda request: asked.append(request.url))
      page.goto(address)
      page.wait_for_selector(".answer h2:has-text('Cones')")
      page.set_input_files("input[type=file]", bad)
      page.wait_for_selector(".problem:has-text('bad.png: cannot decode')")
      browser.close()
    finally:
      server.terminate()
  assert all(url.startswith((address, "data:", "blob:")) for url in asked)


def free_port() -> int:
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return listener.getsockname()[1]
