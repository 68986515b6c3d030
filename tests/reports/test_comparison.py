"""Runs stand side by side: facts, what differs, results, curves."""

import json
import re

import pytest

from hyperclip_jax.commands import door
from hyperclip_jax.reports import comparison, measures
from tests import small
from tests.reports.reader import Reader, assert_self_contained


def run(folder, system, seed=0, **results):
  """What a run of six steps leaves in its workdir."""
  config = small.config(system)
  config.seed = seed
  folder.mkdir(parents=True)
  (folder / "config.json").write_text(config.to_json())
  rows = [
    {"step": step, "loss": 3.0 / step, "samples_per_second": 100.0 * step}
    for step in range(1, 7)
  ]
  rows.append({"step": 6, "goodput": 0.5, "seconds": 75.0})
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (folder / "metrics.jsonl").write_text(text)
  if results:
    (folder / "results.json").write_text(json.dumps(results))
  return folder


def results(top1):
  return {
    "eval/zero_shot/top1": top1,
    "eval/zero_shot/top1_se": 0.02,
    "eval/zero_shot/top1_chance": 0.25,
    "eval/zero_shot/images": 96.0,
  }


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  folder = tmp_path_factory.mktemp("comparison")
  run(folder / "a/<i>one", "hycoclip", **results(0.5))
  run(folder / "two", "clip", seed=3, **results(0.625))
  run(folder / "three", "clip")
  argv = [str(folder / name) for name in ("a/<i>one", "two", "three")]
  output = folder / "new/compared.html"
  assert door.run(["report", *argv, f"--output={output}"]) == 0
  text = output.read_text()
  assert_self_contained(text)
  return Reader(text)


def test_facts_and_what_differs(page):
  assert page.table["system"] == ["hycoclip", "clip", "clip"]
  assert page.table["steps done"] == ["6 of 6"] * 3
  assert page.table["time"] == ["1 min"] * 3
  assert page.table["samples / s"] == ["400"] * 3
  assert page.table["seed"] == ["0", "3", "0"]
  assert "batch_size" not in page.table
  # An option that the other system has not.
  assert page.table["model.entail_weight"][1:] == []


def test_what_sets_one_run_apart_is_folded(page):
  """What the other two differ in is not buried under it."""
  (folded,) = re.findall(r"<details>.*?</details>", page.source, re.DOTALL)
  assert "more, in which only &lt;i&gt;one differs" in folded
  assert "entail_weight" in folded
  assert ">seed<" not in folded


def test_results_stand_side_by_side_and_the_best_is_bold(page):
  (row,) = [r for r in page.rows if r[0] == "Top-1 accuracy"]
  assert row[-3:] == ["0.500 ± 0.020", "0.625 ± 0.020", "0.25"]
  assert "Without final results: three." in page.text
  assert ("b", "0.625 ± 0.020") in page.marked
  names = [attrs.get("alt", "") for tag, attrs in page.elements if tag == "img"]
  assert names == ["Loss over training steps"]  # of the rest, one value each


def test_the_best_is_that_of_the_digits_shown():
  found = measures.groups(
    "", {"a": {"tie": 2.0001}, "b": {"tie": 2.0}, "c": {"tie": 3.0}}
  )
  assert found[0].rows[0].best == {"a", "b"}
  (row,) = measures.groups("", {"a": {"tie": 2.0}})[0].rows
  assert row.best == frozenset()


@pytest.mark.parametrize(
  ("metric", "title"),
  [
    ("eval/zero_shot/top1", "Zero-shot classification: top-1 accuracy"),
    ("train_sample/retrieval/i2t_r5", "Retrieval: image to text R@5"),
    ("loss", "loss"),
  ],
)
def test_metrics_have_titles(metric, title):
  assert measures.title(metric) == title


def test_names_differ():
  assert measures.names(["a/x", "b/x", "b/y", "hf-hub:org/z"]) == [
    *("a/x", "b/x", "y", "z")
  ]


def rates(**values):
  return {
    name: {"zero_shot/top1": value}
    | ({} if error is None else {"zero_shot/top1_se": error})
    for name, (value, error) in values.items()
  }


@pytest.mark.parametrize(
  ("values", "best"),
  [
    # Twice the error of a difference, of .03 and .04, is .1.
    ({"a": (0.5, 0.03), "b": (0.61, 0.04)}, {"b"}),
    ({"a": (0.5, 0.03), "b": (0.59, 0.04)}, set()),
    ({"a": (0.5, 0.03), "b": (0.59, 0.04), "c": (0.2, 0.03)}, {"a", "b"}),
    # A rate of 1 has no error of its own.
    ({"a": (0.98, 0.02), "b": (1.0, 0.0)}, set()),
    ({"a": (0.94, 0.02), "b": (1.0, 0.0)}, {"b"}),
    ({"a": (0.94, 0.02), "b": (float("nan"), 0.0)}, set()),
    # As of an older run, without an error.
    ({"a": (0.94, 0.02), "b": (0.98, None)}, set()),
    ({"a": (0.94, 0.02), "b": (1.0, None)}, {"b"}),
  ],
)
def test_what_differs_by_less_than_the_errors_is_as_good(values, best):
  ((row,),) = [group.rows for group in measures.groups("", rates(**values))]
  assert row.best == best


def test_the_verdict_counts_measures_with_a_sure_winner():
  results = {
    model: {
      "retrieval/i2t_r1": ahead,
      "retrieval/i2t_r1_se": 0.01,
      "retrieval/t2i_r1": 0.3 + ahead / 100,  # less than the errors
      "retrieval/t2i_r1_se": 0.01,
      "hierarchy/tie": 3 - ahead,  # has no error
    }
    for model, ahead in {"a": 0.2, "b": 0.4}.items()
  }
  said = measures.verdict(measures.groups("", results))
  assert said.startswith("Of 2 measures with errors one is ahead")
  assert "b in 1, none in 1." in said
  assert not measures.verdict(measures.groups("", {"a": results["a"]}))


def test_what_cannot_be_compared_is_one_message(tmp_path):
  one = run(tmp_path / "one", "clip")
  for argv, message in (
    ([], "give runs to compare, as in hyperclip report RUN RUN; or --shards"),
    ([one, "--shards=a"], "give runs to compare"),
    (["--shards=a"], "give --output=FILE"),
    ([one, tmp_path / "none"], "none/config.json: no such file"),
    ([one, one], "a run is given twice"),
  ):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
      door.run(["report", *map(str, argv)])
  (one / "results.json").write_text("[]")
  with pytest.raises(ValueError, match=r"results\.json: not the results"):
    comparison.read(one)


def test_nothing_is_bold_where_all_are_equal_or_no_way_is_better():
  results = {
    "a": {"cones/text_image/shuffled": 0.1, "zero_shot/top1": 0.3},
    "b": {"cones/text_image/shuffled": 0.0, "zero_shot/top1": 0.3001},
  }
  rows = [row for group in measures.groups("", results) for row in group.rows]
  assert [row.best for row in rows] == [frozenset(), frozenset()]


def test_runs_on_other_data_are_not_ranked_together(tmp_path):
  """Nor do they share a chance level."""
  few = {"eval/zero_shot/images": 10.0, "eval/zero_shot/top1_chance": 0.5}
  run(tmp_path / "one", "clip", **results(0.5))
  run(tmp_path / "two", "clip", seed=1, **results(0.625))
  run(tmp_path / "other", "clip", **{**results(0.9), **few})
  output = tmp_path / "compared.html"
  folders = [tmp_path / name for name in ("one", "other", "two")]
  comparison.write(folders, output)
  text = output.read_text()
  assert "Measured on the same data: one, two." in text
  assert "Measured on the same data: other." in text
  assert "<b>0.625" in text
  assert "<b>0.900" not in text


def test_curves_are_of_the_same_data(tmp_path):
  for name, images in (("one", 96.0), ("two", 96.0), ("other", 10.0)):
    found = results(0.5) | {"eval/zero_shot/images": images}
    folder = run(tmp_path / name, "clip", seed=len(name), **found)
    with (folder / "metrics.jsonl").open("a") as file:
      file.write(json.dumps({"step": 3, "eval/zero_shot/top1": 0.3}) + "\n")
  output = tmp_path / "compared.html"
  for chosen, plots in (
    (("one", "two"), 1),
    (("one", "other", "two"), 2),
  ):
    comparison.write([tmp_path / name for name in chosen], output)
    alts = [
      attrs.get("alt", "")
      for tag, attrs in Reader(output.read_text()).elements
      if tag == "img"
    ]
    title = "Zero-shot classification: top-1 accuracy over training steps"
    assert alts.count(title) == plots
    assert ("This plot shows other alone." in output.read_text()) == (
      "other" in chosen
    )
    assert alts.count("Loss over training steps") == 1
    page = output.read_text()
    assert page.count("<figcaption>") == plots + 1
    assert page.count("What training minimises.") == 1
    assert page.count("Images whose right class is the nearest, mean over") == (
      plots
    )
