"""The demo page: what it answers, and that a browser shows it."""

import asyncio
import importlib.util
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import ExifTags, Image

import hyperclip_jax
from hyperclip_jax.commands import demo, door, local_server
from hyperclip_jax.evals.metrics import hierarchy
from hyperclip_jax.geometry.spaces import Lorentz
from hyperclip_jax.inference import explore, pretrained
from hyperclip_jax.reports import answer, cones, maps
from hyperclip_jax.reports.markup import Markup
from tests.evals import saved
from tests.inference.test_model import pictures
from tests.reports.reader import Reader

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


def folder_of(file):
  return str(pathlib.Path(file).parent)


def answered(begun, folder, path, text):
  """All parts of an answer."""
  model, begin = begun
  return Markup("".join(demo.respond(model, begin.things, folder, path, text)))


def test_a_run_on_the_embedded_data_brings_phrases_and_pictures(begun):
  _, begin = begun
  assert begin.phrases[0] == "thing"
  assert len(begin.examples) == demo.EXAMPLES
  assert len(begin.things.pictures) == len(begin.things.index) == 48


def test_a_large_hierarchy_is_shown_without_its_leaves(monkeypatch):
  parents = {"thing": (), "animal": ("thing",), "cat": ("animal",)}
  assert demo._phrases(parents) == ["thing", "animal", "cat"]
  monkeypatch.setattr(demo, "MOST_PHRASES", 2)
  assert demo._phrases(parents) == ["thing", "animal"]


def test_a_release_brings_its_own_words(loaded, tmp_path):
  model, _ = loaded
  model.save_pretrained(tmp_path / "mine")
  assert len(demo.start(model, str(tmp_path / "mine")).things.index) == 0
  model.index_texts(["a cat", "a dog"]).save(
    tmp_path / "mine" / demo.WORDS_FILE
  )
  begin = demo.start(model, str(tmp_path / "mine"))
  assert begin.phrases == demo.PHRASES
  assert begin.things.index.names == ["a cat", "a dog"]
  assert [*begin.things.pictures] == [None, None]


def test_typed_phrases_are_shown_where_others_are_nearer(begun, file):
  model, begin = begun
  x = model.encode_image(pictures(1))
  twenty = model.index(
    np.repeat(x, 20, axis=0), [f"near {i}" for i in range(20)]
  )
  begin = begin._replace(things=explore.Things(twenty, [None] * 20))
  text = "a cat\na dog"
  shown = answered((model, begin), folder_of(file), file, text)
  assert "The nearest 2 of your 2 phrases" in Reader(shown).text
  names = [first for first, *rest in Reader(shown).rows if len(rest) == 2]
  assert len(names) == 10
  assert all(name.startswith("near") for name in names[:8])
  assert set(names[8:]) == {"a cat", "a dog"}
  # Each table has a softmax of its own.
  shares = [row[1] for row in Reader(shown).rows if row[0] in names]
  assert shares[:8] == ["5.0%"] * 8
  assert sum(float(s[:-1]) for s in shares[8:]) == pytest.approx(100, abs=0.11)


def test_an_answer_names_all_and_escapes(begun, file):
  model, _ = begun
  evil = "<script>alert(1)</script>"
  text = f"a red circle\n\n {evil} \na red circle"
  shown = answered(begun, folder_of(file), file, text)
  assert isinstance(shown, Markup)
  assert evil not in shown
  reader = Reader(shown)
  assert reader.table["probability"] == [model.space.distance_name]
  assert set(reader.table) == {"probability", "a red circle", evil}
  shares = [float(row[1][:-1]) for row in reader.rows[1:]]
  assert sum(shares) == pytest.approx(100, abs=0.11)
  assert "[ROOT]" in reader.text
  assert shown.count("data:image/svg+xml") == 1 + model.space.cones
  assert ("no cones" in reader.text) == (not model.space.cones)


def test_tables_do_not_wait_for_figures(begun, file, monkeypatch):
  model, begin = begun
  text = "a cat\na dog"
  answers = demo.respond(model, begin.things, folder_of(file), file, text)
  monkeypatch.setattr(answer, "figures", None)  # is not called yet
  first = Reader(next(answers))
  assert set(first.table) == {"probability", "a cat", "a dog"}
  assert "[ROOT]" in first.text
  monkeypatch.undo()
  figures = next(answers)
  assert figures.count("data:image/svg+xml") == 1 + model.space.cones
  assert not [*answers]


def test_explore_agrees_with_the_model(begun):
  model, begin = begun
  image, phrases = pictures(1)[0], ["a cat", "a red circle", "thing"]
  found = explore.explore(model, image, phrases, begin.things)
  want = model.search_image(image, model.index_texts(phrases), 8)[0]
  assert [near.name for near in found.phrases] == [hit.name for hit in want]
  assert found.texts == []  # the index has pictures alone
  assert found.walk[-1].name == "root"
  x = model.encode_image([image])
  away = model.space.distance(model.encode_text(phrases), x)
  assert [near.distance for near in found.phrases] == pytest.approx(
    sorted(away), abs=1e-5
  )
  shares = model.probabilities(x, model.encode_text(phrases))[0]
  assert [near.probability for near in found.phrases] == pytest.approx(
    sorted(shares)[::-1], abs=1e-6
  )
  if model.space.cones:
    texts = model.encode_text(phrases)
    margins = model.entailment_score(
      texts, np.repeat(model.encode_image([image]), 3, axis=0)
    )
    assert [cone.margin for cone in found.cones] == pytest.approx(
      sorted(margins), abs=1e-5
    )


@pytest.mark.parametrize("curv", [0.1, 1.0])
@pytest.mark.parametrize("aperture", [0.2, 1.0, 1.5])
@pytest.mark.parametrize("apex", [0.1, 0.7])
@pytest.mark.parametrize("reach", [0.9, 50.0])
def test_drawn_cones_hold_what_the_formula_says(curv, aperture, apex, reach):
  """Hyperbolic trigonometry, not the drawing's Moebius map, is the judge."""
  space = Lorentz(curv)
  view = float(space.disk_radius(reach))
  path = cones.within(cones.outline(apex, aperture, space), view)
  rng = np.random.default_rng(0)
  from matplotlib.path import Path

  drawn = Path(np.stack([np.real(path), np.imag(path)], axis=1))
  root = curv**0.5
  checked = 0
  farthest = min(reach, 3)
  for far, between in rng.uniform([0.1, 0], [farthest, np.pi], (200, 2)):
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
      z = space.disk_radius(far) / view * np.exp(1j * between)
      inside = drawn.contains_point((z.real, z.imag))
      assert inside == (exterior < aperture)
      checked += 1
  assert checked > 150


def test_it_says_what_entails_means_when_nothing_does(begun, file, monkeypatch):
  model, _ = begun
  if not model.space.cones:
    return
  for margin, wanted in (
    (0.5, "None of the 2 phrases entails the picture. A phrase entails it if"),
    (-0.5, "2 of 2 phrases entail the picture. A picture (blue)"),
  ):
    monkeypatch.setattr(
      model,
      "entailment_score",
      lambda x, y, margin=margin: np.full(len(x), margin, np.float32),
    )
    text = "a cat\na dog"
    shown = answered(begun, folder_of(file), file, text)
    assert wanted in Reader(shown).text
    assert ("missed by 29°" in Reader(shown).text) == (margin > 0)


def test_how_wide_cones_are_is_told_first(begun, file, monkeypatch):
  model, _ = begun
  if not model.space.cones:
    return
  monkeypatch.setattr(
    type(model.space), "half_aperture", lambda *_: np.array([1.4, 1.57])
  )
  monkeypatch.setattr(
    model, "entailment_score", lambda x, _: np.full(len(x), -0.5, np.float32)
  )
  text = Reader(answered(begun, folder_of(file), file, "a cat\na dog")).text
  first = text.find("Half apertures of these cones are 80° to 90°.")
  assert 0 <= first < text.find("2 of 2 phrases entail")


def test_it_says_what_the_model_was_trained_on():
  about = hyperclip_jax.load("emoji-mini").about
  assert "drawings, not photographs" in about.data
  text = Reader(answer.trained(about)).text
  assert f"Trained on: {about.data}" in text
  top1 = about.numbers["zero_shot/top1"]
  assert f"Zero-shot classification: top-1 accuracy {top1:.3g}" in text
  assert "<script>" not in answer.trained(about._replace(data="<script>"))


def test_gaussians_are_shown_with_their_uncertainty(tmp_path):
  folder = saved.model(tmp_path / "prolip", "prolip")
  model = hyperclip_jax.load(folder)
  begin = demo.start(model, str(folder))
  Image.fromarray(pictures(1)[0]).save(tmp_path / "one.png")
  phrases = [f"phrase {i}" for i in range(20)]
  shown = answered(
    (model, begin),
    str(tmp_path),
    str(tmp_path / "one.png"),
    "\n".join(phrases),
  )
  x = model.encode_image([pictures(1)[0]])
  tests = -model.entailment_score(model.encode_text(phrases), x)
  reader = Reader(shown)
  assert f"{(tests > 0).sum()} of 20 phrases" in reader.text
  assert "Drawn are the 16 that include it most" in reader.text
  assert shown.count("data:image/svg+xml") == 2
  assert "Cones" not in reader.text


def test_labels_touch_the_markers_of_their_phrases():
  x = np.random.default_rng(0).normal(size=(112, 5)).astype(np.float32)
  names = [f"phrase {i}" for i in range(8)]
  space = Lorentz(1.0)
  embeddings = {"image": x[:1], "text": x}
  drawn, _ = answer.labelled_map(embeddings, names, space)
  drawn.canvas.draw()
  (axes,) = drawn.axes
  labels = {t.get_text(): t.get_window_extent() for t in axes.texts}
  labels = {k: v for k, v in labels.items() if k in names}
  assert "phrase 0" in labels
  assert len(labels) > 5
  places = maps.positions(embeddings, space)[0]["text"]
  points = drawn.dpi / 72
  for i, name in enumerate(names):
    if name in labels:
      x, y = axes.transData.transform(places[i])
      box = labels[name]
      across = max(box.x0 - x, 0, x - box.x1)
      down = max(box.y0 - y, 0, y - box.y1)
      assert np.hypot(across, down) < 8 * points


def test_phrases_stay_on_the_map_when_the_picture_changes():
  x = np.random.default_rng(0).normal(size=(22, 5)).astype(np.float32)
  names = [f"phrase {i}" for i in range(4)]
  seen = []
  for picture in (x[:1], x[1:2]):
    drawn, _ = answer.labelled_map(
      {"image": picture, "text": x[2:]}, names, Lorentz(1.0)
    )
    (axes,) = drawn.axes
    at = [list(c.get_offsets()) for c in axes.collections]
    seen.append([places for places in at if len(places) > 1])
  np.testing.assert_allclose(seen[0][0], seen[1][0])
  np.testing.assert_allclose(seen[0][1], seen[1][1])


def test_names_on_the_map_do_not_cover_each_other():
  x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
  names = [f"phrase {i}" for i in range(40)]
  drawn, _ = answer.labelled_map(
    {"image": x[:1], "text": x}, names, Lorentz(1.0)
  )
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
    (lambda path: path.write_text("hf_SECRET"), "a cat", "a.png: cannot deco"),
    (huge, "a cat", "a.png: image of 10000 x 6000 pixels; the most is 50,000"),
    (huge, " \n\n", "no phrases"),
    (huge, "\n".join(map(str, range(201))), "201 phrases are more than 200"),
  ],
)
def test_problems_are_told(begun, tmp_path, make, text, wanted):
  path = tmp_path / "a.png"
  if make:
    make(path)
  sent = str(path) if make else None
  shown = answered(begun, str(tmp_path), sent, text)
  assert wanted in Reader(shown).text
  assert "SECRET" not in shown
  assert str(tmp_path) not in shown
  assert "problem" in shown


def test_a_problem_takes_old_figures_away(begun, tmp_path):
  model, begin = begun
  found = [*demo.respond(model, begin.things, str(tmp_path), None, "a cat")]
  assert len(found) == 2
  assert "no picture" in found[0]
  assert not found[1]


def test_no_file_outside_of_the_uploads_is_opened(begun, file, tmp_path):
  """A client sends what path it likes; all answers to others are alike."""
  uploads = tmp_path / "uploads"
  uploads.mkdir()
  (uploads / "link.png").symlink_to(file)
  os.mkfifo(uploads / "pipe.png")
  (tmp_path / "uploads-2").mkdir()
  sibling = shutil.copy(file, tmp_path / "uploads-2")
  paths = [file, sibling, str(uploads / "link.png"), str(uploads / "pipe.png")]
  paths += [f"{uploads}/../one.png", str(uploads), "/dev/zero", "/etc/passwd"]
  paths += ["nothing.png", "", "a\0b", "http://localhost/one.png", "x" * 9_999]
  for path in paths:
    with pytest.raises(FileNotFoundError) as refused:
      answered(begun, str(uploads), path, "a cat")
    wanted = "This picture was not uploaded here: drop it again"
    assert str(refused.value) == wanted
  own = shutil.copy(file, uploads)
  shown = answered(begun, str(uploads), own, "a cat")
  assert "problem" not in shown


def test_phrases_end_at_line_feeds_alone(begun, file):
  text = "\ufeffred\u2028ish\r\ngreen"
  shown = answered(begun, folder_of(file), file, text)
  names = Reader(shown).table.keys() - {"probability"}
  assert names == {"red ish", "green"}


def test_names_that_control_a_terminal_are_shown_escaped(begun, file):
  text = "\x1b[2Jred\n\u202eabc\nnul\0"
  shown = answered(begun, folder_of(file), file, text)
  names = Reader(shown).table.keys() - {"probability"}
  assert names == {"\\x1b[2Jred", "\\u202eabc", "nul\\x00"}


def test_a_phones_picture_is_looked_at_upright(begun, tmp_path):
  image, exif = Image.fromarray(pictures(1)[0][:20]), Image.Exif()
  image.save(tmp_path / "up.png")
  exif[ExifTags.Base.Orientation] = 6
  turned = image.transpose(Image.Transpose.ROTATE_90)
  turned.save(tmp_path / "phone.png", exif=exif)
  up, phone = (
    answered(begun, str(tmp_path), str(path), "a cat\na dog")
    for path in (tmp_path / "up.png", tmp_path / "phone.png")
  )
  assert Reader(up).table == Reader(phone).table


class Launched:
  """A page of gradio that notes how it is served."""

  def __init__(self, link):
    self.link = link

  def launch(self, **options):
    self.options = options
    return None, "http://127.0.0.1:1/", self.link

  def close(self, **_):
    pass


@pytest.mark.parametrize(
  ("host", "share", "rule"),
  [
    (local_server.HOST, False, local_server.is_local),
    ("0.0.0.0", False, local_server.is_own),
    (local_server.HOST, True, local_server.is_own),
  ],
)
def test_the_page_is_for_others_where_that_was_asked_for(host, share, rule):
  pytest.importorskip("gradio", reason="needs the extra demo")
  blocks = Launched("https://public" if share else None)
  address = local_server.serve(blocks, 1, "", host, share)
  assert address == ("https://public" if share else "http://127.0.0.1:1/")
  (guard,) = blocks.options["app_kwargs"]["middleware"]
  assert guard.kwargs == {"answers": rule}
  assert blocks.options["server_name"] == host
  assert blocks.options["share"] == share


def test_a_link_that_cannot_be_made_is_an_error():
  pytest.importorskip("gradio", reason="needs the extra demo")
  with pytest.raises(OSError, match="no public link"):
    local_server.serve(Launched(None), 1, "", local_server.HOST, True)


@pytest.mark.parametrize("flags", [[], ["--host=0.0.0.0"], ["--share"]])
def test_flags_say_who_can_use_the_page(loaded, flags, monkeypatch, capsys):
  pytest.importorskip("gradio", reason="needs the extra demo")
  found = {}

  def serve(blocks, port, css, host, share):
    found.update(port=port, host=host, share=share)
    return "http://page/"

  done = threading.Event()
  done.set()
  monkeypatch.setattr(demo, "page", lambda *_: Launched(None))
  monkeypatch.setattr(local_server, "serve", serve)
  monkeypatch.setattr(local_server, "stop_signal", lambda: done)
  door.run(["demo", f"--model={loaded[1]}", "--port=7", *flags])
  printed = capsys.readouterr().out
  assert ("Everyone who can reach this page" in printed) == bool(flags)
  assert "The page is at http://page/" in printed
  host = "0.0.0.0" if "--host=0.0.0.0" in flags else local_server.HOST
  assert found == {"port": 7, "host": host, "share": "--share" in flags}


LOCAL = [b"localhost", b"LOCALHOST:80", b"127.0.0.1:7860", b"[::1]:7860"]
FOREIGN = [b"evil.example", b"evil.example:7860", b"localhost.evil.example"]
FOREIGN += [b"127.0.0.1.evil.example", b"127.0.0.2", b"localhost:", b"", b"::1"]
FOREIGN += [b"a@localhost", b"localhost:7860@evil.example", b"localhost\n"]


@pytest.mark.parametrize("host", LOCAL)
def test_a_page_of_this_machine_is_answered(host):
  origin = b"http://" + host
  assert local_server.is_local("GET", [(b"accept", b"*/*"), (b"host", host)])
  sent = [(b"host", host), (b"origin", origin)]
  assert local_server.is_local("POST", sent)


@pytest.mark.parametrize("host", FOREIGN)
def test_another_host_is_not_answered(host):
  assert not local_server.is_local("GET", [(b"host", host)])


@pytest.mark.parametrize(
  "headers",
  [
    [],
    [(b"host", b"localhost"), (b"host", b"evil.example")],
    [(b"host", b"localhost"), (b"origin", b"http://evil.example")],
    [(b"host", b"localhost:1"), (b"origin", b"http://localhost:2")],
    [(b"host", b"localhost"), (b"origin", b"null")],
  ],
)
def test_a_form_of_another_page_is_not_answered(headers):
  assert not local_server.is_local("POST", headers)


def test_a_page_that_is_served_to_others_answers_any_name_but_no_other_page():
  for host in [*LOCAL, b"demo.example:7860"]:
    for scheme in (b"http://", b"https://"):  # behind a proxy
      sent = [(b"host", host), (b"origin", scheme + host.lower())]
      assert local_server.is_own("POST", sent)
    sent = [(b"host", host), (b"origin", b"http://evil.example")]
    assert not local_server.is_own("POST", sent)
  assert not local_server.is_own("GET", [])


@pytest.mark.parametrize(
  ("kind", "host", "wanted"),
  [
    ("http", b"localhost", ["app"]),
    ("http", b"evil.example", ["http.response.start", "http.response.body"]),
    ("websocket", b"evil.example", ["websocket.close"]),
    ("lifespan", b"", ["app"]),
  ],
)
def test_the_middleware_passes_on_local_requests_alone(kind, host, wanted):
  sent = []

  async def app(scope, receive, send):
    await send({"type": "app"})

  async def send(message):
    sent.append(message)

  scope = {"type": kind, "headers": [(b"host", host)]}
  asyncio.run(local_server.Guarded(app)(scope, None, send))
  assert [message["type"] for message in sent] == wanted
  assert all(message.get("status", 403) == 403 for message in sent)


def test_an_index_is_met_with_pictures_where_names_are_files(
  loaded, file, capsys
):
  model, folder = loaded
  path = pathlib.Path(file).with_name("own.index")
  model.index_images([file, pictures(2)[1]], [file, "gone.png"]).save(path)
  begin = demo.start(model, str(folder), path)
  assert [p is None for p in begin.things.pictures] == [False, True]

  # Another's index may name any file: those elsewhere are shown if allowed.
  moved = path.parent / "indices" / "own.index"
  moved.parent.mkdir()
  path.rename(moved)
  for allowed, hidden in ((None, [True, True]), (path.parent, [False, True])):
    begin = demo.start(model, str(folder), moved, allowed)
    assert [p is None for p in begin.things.pictures] == hidden
    assert ("give --pictures" in capsys.readouterr().err) == hidden[0]
  hyperclip_jax.Index(np.zeros((1, 3)), ["x"], Lorentz(1.0), "other").save(path)
  with pytest.raises(ValueError, match="another model's"):
    demo.start(model, str(folder), path)


@pytest.mark.parametrize("font_found", [True, False])
def test_other_models_have_emoji_of_this_machine(
  loaded, tmp_path, monkeypatch, font_found
):
  model, _ = loaded
  drawn = pictures(1)[0] if font_found else None
  monkeypatch.setattr(demo.font, "draw", lambda text: drawn)
  model.save_pretrained(tmp_path / "release")
  begin = demo.start(model, str(tmp_path / "release"))
  assert begin.phrases == demo.PHRASES
  assert len(begin.examples) == font_found * len(demo.EMOJI)
  assert not begin.things.pictures


@pytest.mark.skipif(
  not any("Noto" in str(found.path) for found in demo.font.fonts()),
  reason="needs Noto Color Emoji",
)
def test_examples_show_a_hierarchy():
  """Each of the emoji is named, and its walk passes what is above it alone."""
  model = hyperclip_jax.load("emoji-mini")
  folder, _ = pretrained.located("emoji-mini")
  begin = demo.start(model, str(folder))
  text = (folder / "hierarchy.json").read_text("utf-8")
  parents = {node: tuple(of) for node, of in json.loads(text).items()}

  def plain(name):
    return re.sub(r"^(an?|\W+) | \(.*\)$", "", name)

  assert len(begin.examples) == len(demo.EMOJI)
  for sign, picture in zip(demo.EMOJI, begin.examples, strict=True):
    found = explore.explore(model, picture, begin.phrases, begin.things)
    first, *above, root = [plain(stop.name) for stop in found.walk]
    assert root == "root"
    assert sign in found.texts[0].name
    assert first == plain(found.texts[0].name)
    assert above, sign
    assert {*above} <= hierarchy.ancestors(parents, first), sign


def test_without_gradio_it_says_what_to_install(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(SystemExit, match=r"hyperclip-jax\[demo\]"):
    door.run(["demo", "--model=none"])


def ask(url, data=None, **headers):
  """The status and body of an answer."""
  request = urllib.request.Request(url, data, headers)
  try:
    with urllib.request.urlopen(request, timeout=60) as answered:
      return answered.status, answered.read().decode()
  except urllib.error.HTTPError as error:
    return error.code, error.read().decode()


def look(address, payload):
  """The answer of the page to a picture, as any client may send it."""
  data = json.dumps({"data": [payload, "a cat"]}).encode()
  call = f"{address}gradio_api/call/look"
  _, found = ask(call, data, **{"Content-Type": "application/json"})
  return ask(f"{call}/{json.loads(found)['event_id']}")[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
  """A page in a process of its own: its address and its temporary files."""
  pytest.importorskip("gradio", reason="needs the extra demo")
  folder = tmp_path_factory.mktemp("served")
  temporary = folder / "tmp"
  temporary.mkdir()
  command = [sys.executable, "-m", "hyperclip_jax", "demo"]
  command += [f"--model={saved.model(folder / 'model')}"]
  with subprocess.Popen(
    [*command, f"--port={free_port()}"],
    stdout=subprocess.PIPE,
    text=True,
    env=os.environ | {"TMPDIR": str(temporary)},
  ) as server:
    try:
      assert server.stdout is not None
      lines = iter(server.stdout.readline, "")
      found = (re.search(r"http://127\.0\.0\.1:\d+/", line) for line in lines)
      yield next(match[0] for match in found if match), temporary
    finally:
      server.terminate()
  assert server.returncode == 0
  assert not [*temporary.iterdir()]  # Uploads go with the page.


@pytest.mark.slow
def test_the_served_page_opens_uploads_alone(served, file):
  address, temporary = served
  (uploads,) = temporary.iterdir()
  assert uploads.stat().st_mode & 0o777 == 0o700
  assert ask(address)[0] == 200
  assert ask(address, Host="evil.example")[0] == 403
  upload = f"{address}gradio_api/upload"
  assert ask(upload, b"", Origin="http://evil.example")[0] == 403
  own = shutil.copy(file, uploads)
  for more in ({}, {"meta": {"_type": "gradio.FileData"}}):
    assert "event: error" in look(address, {"path": file} | more)
    assert "data:image" in look(address, {"path": own} | more)
  assert ask(f"{address}gradio_api/file={file}")[0] == 403


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_the_page(served, tmp_path):
  reason = "needs playwright, which drives chromium"
  playwright = pytest.importorskip("playwright.sync_api", reason=reason)
  address, temporary = served
  bad = tmp_path / "bad.png"
  bad.write_text("no image")
  with playwright.sync_playwright() as driver:
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
  assert [*temporary.rglob("bad.png")]
  assert all(url.startswith((address, "data:", "blob:")) for url in asked)


def free_port() -> int:
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return listener.getsockname()[1]
