import re

import numpy as np
import pytest

from hyperclip_jax.evals.metrics import cones
from hyperclip_jax.geometry.spaces import Lorentz, Sphere
from hyperclip_jax.inference.walk import ROOT_ROW, Stop
from hyperclip_jax.reports import measures, page, plots, words
from hyperclip_jax.reports.markup import tag
from tests.reports.reader import Reader, assert_self_contained

EVIL = "<script>alert(1)</script> \"quoted\" & 'so' {on}"


@pytest.fixture
def run():
  rng = np.random.default_rng(0)
  picture = rng.integers(0, 255, (400, 600, 3), np.uint8)
  return {
    "title": f"run {EVIL}",
    "system": "hycoclip",
    "date": "2031-02-03",
    "digest": "abc123",
    "about": {"model": "1.5 M parameters", "command": EVIL},
    "summary": {
      "eval/zero_shot/top1": 0.25,
      "eval/zero_shot/images": 1200.0,
      "eval/zero_shot_held_out/top1": 0.75,
      "eval/retrieval/i2t_r5": 0.5,
      "eval/retrieval/i2t_r5_se": 0.02,
      "eval/retrieval/i2t_r5_chance": 0.125,
      EVIL: float("nan"),
    },
    "history": [
      {"step": 10, "loss": 3.0, "curv": 1.0, "eval/zero_shot/top1": 0.1},
      {
        **{"step": 20, "loss": float("nan"), "curv": None, EVIL: 1.0},
        "eval/zero_shot/top1": 0.2,
      },
    ],
    "embeddings": {
      kind: rng.normal(size=(20, 8)).astype(np.float32) for kind in plots.KINDS
    },
    "space": Lorentz(0.7),
    "traversals": [
      page.Traversal(
        picture,
        EVIL,
        [
          Stop(EVIL, 1.0, 0),
          Stop(EVIL, 0.5, 1),
          Stop("root", 0.1, ROOT_ROW),
        ],
        {1: picture[:40, :40]},
      )
    ],
    "examples": [
      page.Example(
        picture, EVIL, [(EVIL, (0.1, 0.2, 0.4, 0.95))], [EVIL, "another"]
      )
    ],
    "config_text": f"lr = 5e-4 {EVIL}",
  }


@pytest.fixture
def write(tmp_path):
  def write(run):
    page.write_report(tmp_path / "report.html", **run)
    return (tmp_path / "report.html").read_text(encoding="utf-8")

  return write


def test_everything_is_there(run, write):
  reader = Reader(write(run))
  for word in (
    "hycoclip",
    "2031-02-03",
    "abc123",
    "0.500 ± 0.020",
    "not finite",
  ):
    assert word in reader.text
  names = ("Results", "Training", "Embeddings", "Walks to the root", "Examples")
  assert all(name in reader.text for name in (*names, "Configuration"))
  images = [attrs for tag, attrs in reader.elements if tag == "img"]
  # 3 panels, 2 embeddings, 2 on the walk, 1 example; each is described.
  assert len(images) == 8
  assert all(attrs["alt"] for attrs in images)


def test_the_whole_configuration_is_folded(run, write):
  (folded,) = re.findall(r"<details>.*?</details>", write(run), re.DOTALL)
  assert "lr = 5e-4 &lt;script&gt;" in folded


def test_it_says_what_cones_tell(run, write):
  for relation, area, aperture in (
    ("text_image", 0.9, 1.5707),
    ("box_text_text", 0.7, 1.4),
    ("box_image_image", 0.801, 1.57),
  ):
    prefix = f"eval/cones/{relation}"
    run["summary"] |= {
      f"{prefix}/auroc": area,
      f"{prefix}/auroc_se": 0.01,
      f"{prefix}/similarity_auroc": 0.8,
      f"{prefix}/aperture": aperture,
      f"{prefix}/inside": area - 0.7,
    }
  text = Reader(write(run)).text
  assert (
    "Cones: entailment tells true from shuffled pairs better than similarity "
    "(caption > image); less well than similarity (phrase > caption); about as "
    "well as similarity (box > image). Most cones of 2 of the relations "
    "(caption > image, box > image) are half-spaces, which hold much that is "
    "unrelated, too. Cones hold none of the pairs (phrase > caption)."
  ) in text


def test_text_cannot_become_markup(run, write):
  reader = Reader(write(run))
  assert "script" not in {tag for tag, _ in reader.elements}
  # Title twice, command, walk and its picture, caption, phrase, retrieved,
  # configuration.
  assert reader.text.count(EVIL) == 9
  assert EVIL in {attrs.get("alt") for _, attrs in reader.elements}


def test_nothing_is_loaded_from_outside(run, write):
  assert_self_contained(write(run))


def test_boxes_lie_at_their_fractions(run, write):
  reader = Reader(write(run))
  (style,) = [attrs["style"] for name, attrs in reader.elements if name == "i"]
  assert style.startswith("left:10.00%;top:20.00%;width:30.00%;height:75.00%;")


def test_the_same_run_gives_the_same_bytes(run, write):
  assert write(run) == write(run)


@pytest.mark.parametrize("space", [Lorentz(0.7), Sphere()])
def test_an_empty_run_says_what_is_missing(run, write, space):
  for name in ("summary", "history", "embeddings", "traversals", "examples"):
    run[name] = type(run[name])()
  reader = Reader(write(run | {"space": space}))
  for text in ("no final results", "No metrics", "no embeddings", "No walks"):
    assert text in reader.text
  assert "img" not in {name for name, _ in reader.elements}


@pytest.mark.parametrize("space", [Lorentz(0.7), Sphere()])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_counted(run, write, space, value):
  run["embeddings"]["text"][3, 1] = value
  run["embeddings"]["box_text"][:] = value
  run["embeddings"]["box_image"] = np.zeros((0, 8), np.float32)
  reader = Reader(write(run | {"space": space}))
  assert "21 embeddings are not finite" in reader.text


@pytest.mark.parametrize("space", [Lorentz(0.7), Sphere()])
def test_collapsed_embeddings_are_drawn(run, write, space):
  rows = np.ones((20, 8), np.float32) / 8**0.5
  run["embeddings"] = dict.fromkeys(plots.KINDS, rows)
  assert Reader(write(run | {"space": space}))
  run["embeddings"] = {"image": rows[:1] * (0 if space.rooted else 1)}
  assert Reader(write(run | {"space": space}))


def test_without_hyperbolic_geometry_the_map_is_no_disk(run, write):
  reader = Reader(write(run | {"space": Sphere()}))
  assert "principal components" in reader.text
  assert "Poincaré" not in reader.text


def test_unknown_kinds_are_named(run, write):
  run["embeddings"]["video"] = np.zeros((1, 8), np.float32)
  with pytest.raises(ValueError, match="'video'"):
    write(run)


def test_an_interrupted_report_leaves_the_old_one(
  run, write, tmp_path, monkeypatch
):
  old = write(run)

  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(page.os, "replace", interrupt)
  with pytest.raises(KeyboardInterrupt):
    write(run | {"date": "2032"})
  assert (tmp_path / "report.html").read_text(encoding="utf-8") == old


def test_tag_escapes_all_but_markup():
  assert tag("p", "<b>", tag("b", "&"), cls='"') == (
    '<p class="&quot;">&lt;b&gt;<b>&amp;</b></p>'
  )


def test_measures_have_names_errors_chances_and_counts(run, write):
  reader = Reader(write(run))
  assert reader.table["Image to text R@5"] == ["0.500 ± 0.020", "0.125"]
  assert "1,200 images" in reader.text
  assert "1.5 M parameters" in reader.text
  # What a measure says is told once, though it is measured twice.
  assert reader.text.count("images whose right class is the nearest") == 1
  assert [row[0] for row in reader.rows].count("Top-1 accuracy") == 2


def test_a_sample_of_training_records_is_never_called_held_out(run, write):
  run["summary"] = {
    name.replace("eval/", "train_sample/"): value
    for name, value in run["summary"].items()
  }
  for row in run["history"]:
    row["train_sample/zero_shot/top1"] = 0.1
  text = Reader(write(run)).text
  assert "Results on training records" in text
  assert "on a sample of the training records: nothing was held out" in text
  assert "Measured on a sample of the training records." in text
  assert "held-out records" not in text


def test_plots_show_recall_in_the_order_of_its_numbers():
  names = ["eval/t2i_r10", "eval/t2i_r5", "eval/i2t_r1", "loss"]
  assert sorted(names, key=page._numerically) == [
    "eval/i2t_r1", "eval/t2i_r5", "eval/t2i_r10", "loss",
  ]  # fmt: skip


@pytest.mark.parametrize(
  ("name", "readable"),
  [
    ("words/ap", "Entailment by the words above, AP"),
    ("words/similarity_auroc", "Similarity to the words above, AUROC"),
    ("words_distance/depth2", "Distance of words at depth 2"),
    ("hierarchy/same_parent", "Right parent"),
    ("hierarchy_wordnet/tie", "Tree-induced error (TIE)"),
    ("includes/text_image", "Caption > image"),
  ],
)
def test_measures_of_a_hierarchy_have_plain_names(name, readable):
  (group,) = measures.groups("", {measures.ONE: {name: 0.5}})
  assert [row.name for row in group.rows] == [readable]


def test_explanations_are_sentences():
  for pattern, _, meaning, _ in words.MEANINGS:
    assert meaning, pattern
  (group,) = measures.groups("", {measures.ONE: {"words/auroc": 0.5}})
  assert not any(row.meaning.startswith(";") for row in group.rows)


def test_a_rate_of_nothing_has_no_error():
  values = {"zero_shot/top1": 0.0, "zero_shot/top1_se": 0.0}
  (group,) = measures.groups("", {measures.ONE: values})
  assert group.rows[0].values == {measures.ONE: "0.000"}


def test_lines_have_the_names_of_the_table():
  for panel in words.PANELS:
    for names in (
      ["eval/zero_shot/top1", "eval/zero_shot_held_out/top1"],
      ["eval/cones/text_image/inside", "eval/cones/text_image/shuffled"],
      ["eval/retrieval/i2t_r1", "eval/retrieval/t2i_r1"],
    ):
      if all(re.search(panel.pattern, name) for name in names):
        rows = [{"step": i, **dict.fromkeys(names, 0.5)} for i in (1, 2)]
        drawn = page._curves(rows, names, panel)
        labels = [line.get_label() for line in drawn.axes[0].lines]
        assert not any("_" in label[1:] for label in labels)
        assert panel.dashed is None or "--" in {
          line.get_linestyle() for line in drawn.axes[0].lines
        }


def test_terms_of_a_loss_have_the_names_of_the_cones():
  names = [*words.TERMS, "calibration_image_loss"]
  rows = [{"step": i, **dict.fromkeys(names, 0.5)} for i in (1, 2)]
  (panel,) = [p for p in words.PANELS if p.title == "Terms of the loss"]
  drawn = page._curves(rows, names, panel)
  labels = {line.get_label() for line in drawn.axes[0].lines}
  shared = {words.KINDS[f"cones/{relation}"] for relation in cones.RELATIONS}
  assert shared < labels
  assert "calibration image" in labels
