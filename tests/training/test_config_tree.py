"""Config values from flags: set by type, or refused in plain words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import config_tree

VALUES = {
  "steps": st.integers(1, 10**9),
  "optim.learning_rate": st.floats(1e-9, 1.0),
  "model.unroll": st.booleans(),
  "data.shards": st.text(),
  "data.crop_scale": st.tuples(st.floats(0, 1), st.floats(0, 1)),
  "data.text_buckets": st.lists(st.integers(1, 99)).map(tuple),
}


def refusal(function, *args):
  """The message of a ValueError; other errors are the test's."""
  try:
    function(*args)
  except ValueError as error:
    return str(error)
  return None


@given(st.fixed_dictionaries(VALUES))
def test_a_value_written_as_text_is_read_back(values):
  config = config_lib.paper()
  argv = [f"--config.{name}={value}" for name, value in values.items()]
  rest, overrides = config_tree.split(["main", *argv, "--other=1"])
  config_tree.override(config, overrides)
  assert rest == ["main", "--other=1"]
  found = dict(config_tree.leaves(config))
  assert {name: found[name] for name in values} == values


@given(st.lists(st.text(max_size=12), max_size=5))
def test_any_arguments_are_split_without_loss(texts):
  argv = [f"--config.{text}" for text in texts]
  rest, overrides = config_tree.split([*argv, "--", "--config.seed=1"])
  assert rest[-2:] == ["--", "--config.seed=1"]
  assert len(rest) - 2 + len(overrides) <= len(texts)


@given(st.text(), st.text())
def test_any_override_is_taken_or_refused_by_name(name, text):
  problem = refusal(config_tree.override, config_lib.paper(), [(name, text)])
  assert problem is None or problem.startswith("--config.")
  assert not {"\x1b", "\r", "\x9b", "\u202e"} & {*(problem or "")}


@pytest.mark.parametrize(
  ("argv", "overrides"),
  [
    (["--config.seed=3"], [("seed", "3")]),
    (["-config.seed=3"], [("seed", "3")]),
    (["--config.seed", "3"], [("seed", "3")]),
    (["--config.seed", "-3"], [("seed", "-3")]),
    (["--config.model.unroll"], [("model.unroll", "true")]),
    (["--noconfig.model.unroll"], [("model.unroll", "false")]),
    (["--config.model.unroll", "--config.seed=1"],
     [("model.unroll", "true"), ("seed", "1")]),
    (["--config.data.shards=a=b,c"], [("data.shards", "a=b,c")]),
    (["--config.data.shards="], [("data.shards", "")]),
  ],
)  # fmt: skip
def test_ways_to_write_an_override(argv, overrides):
  assert config_tree.split(argv) == ([], overrides)


@pytest.mark.parametrize(
  ("name", "text", "value"),
  [
    ("model.unroll", "True", True),
    ("model.unroll", "0", False),
    ("optim.learning_rate", "1", 1.0),
    ("data.crop_scale", "(0.5, 1)", (0.5, 1)),
    ("data.crop_scale", "0.5,1", (0.5, 1)),
    ("data.text_buckets", "[16, 77]", (16, 77)),
    ("data.text_buckets", "77", (77,)),
    ("data.weights", "()", ()),
  ],
)
def test_the_old_value_decides_the_type(name, text, value):
  config = config_lib.paper()
  config_tree.override(config, [(name, text)])
  found = dict(config_tree.leaves(config))[name]
  assert found == value
  assert type(found) is type(value)


@pytest.mark.parametrize(
  ("name", "meant"),
  [
    ("optim.lr", "optim.learning_rate"),
    ("optim.wd", "optim.weight_decay"),
    ("optim.learning_rat", "optim.learning_rate"),
    ("optm.learning_rate", "optim.learning_rate"),
    ("learning_rate", "optim.learning_rate"),
    ("batchsize", "batch_size"),
    ("batch_szie", "batch_size"),
    ("bs", "batch_size"),
    ("model.vison.widht", "model.vision.width"),
    ("model.txt.width", "model.text.width"),
    ("data.crop-scale", "data.crop_scale"),
  ],
)
def test_a_mistyped_name_is_answered_with_the_one_meant(name, meant):
  with pytest.raises(ValueError, match="no such value") as error:
    config_tree.override(config_lib.paper(), [(name, "1")])
  message = str(error.value)
  assert message.startswith(f"--config.{name}: no such value, did you mean ")
  assert f"did you mean --config.{meant}? config" in message
  assert "\\" not in message


def test_a_name_like_no_other_is_answered_with_the_sections_keys():
  with pytest.raises(ValueError, match="no such value") as error:
    config_tree.override(config_lib.paper(), [("mesh.zzzz", "1")])
  assert str(error.value) == (
    "--config.mesh.zzzz: no such value: config.mesh has fsdp, model"
  )


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("steps", "many", "must be a whole number, found 'many'"),
    ("steps", "1.5", "must be a whole number, found '1.5'"),
    ("steps", "9" * 5000, "must be a whole number, found '999"),
    ("optim.eps", "tiny", "must be a number, found 'tiny'"),
    ("model.unroll", "maybe", "must be true or false, found 'maybe'"),
    ("data.crop_scale", "wide", "must be numbers in brackets, such as"),
    ("data.crop_scale", "[" * 10**5, "must be numbers in brackets, such as"),
    ("optim", "{}", "is a section; set one of its values: b1, b2"),
    ("seed.x", "1", "config.seed is a value, not a section"),
    ("", "1", "no such value"),
    ("data..shards", "1", "no such value"),
  ],
)
def test_what_fits_no_value(name, text, message):
  with pytest.raises(ValueError, match="--config") as error:
    config_tree.override(config_lib.paper(), [(name, text)])
  assert message in str(error.value)
  assert len(str(error.value)) < 500


def test_all_bad_overrides_are_named_at_once():
  with pytest.raises(ValueError, match="--config") as error:
    config_tree.override(
      config_lib.paper(), [("optim.lr", "1"), ("steps", "x")]
    )
  assert "optim.lr" in str(error.value)
  assert "--config.steps: must be" in str(error.value)


HOSTILE = (
  [], {}, None, "x", True, 10**400, -(10**400), math.nan, math.inf, [[[1]]],
  ["a"], [None], [math.nan], [10**400], [True], 1.5, 0, -1,
)  # fmt: skip


@pytest.mark.parametrize(
  "name", [name for name, _ in config_tree.leaves(config_lib.paper())]
)
def test_a_wrong_value_anywhere_is_a_value_error(name):
  """Never an error of another kind, and the bad value is named."""
  section, _, key = name.rpartition(".")
  for value in HOSTILE:
    tree = config_lib.paper().to_dict()
    node = tree
    for part in section.split(".") if section else ():
      node = node[part]
    # As ConfigDict does itself where a value is set.
    small = isinstance(node[key], float) and value in (0, -1)
    node[key] = float(value) if small else value
    problem = refusal(config_lib.validate, ConfigDict(tree), 1)
    if problem is not None:
      assert name in problem or "micro_batches" in problem
      assert len(problem) < 2000


def test_a_missing_section_takes_its_defaults():
  config = config_lib.paper()
  del config["optim"]
  config_lib.validate(config, 8)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("def get_config(:", r"SyntaxError"),
    ("x = 1\n\ny = x / 0", r"ZeroDivisionError: .* \(line 3\)"),
    ("x = 1", r"AttributeError"),
    ("def get_config():\n  return {'steps': 1}", r"ConfigDict, found dict"),
    (
      "from hyperclip_jax.training.config import paper\n"
      "def get_config():\n  c = paper()\n  c.steps = 'x'\n  return c",
      r"TypeError: .* \(line 4\)",
    ),
  ],
)
def test_a_config_file_that_makes_no_config(text, message, tmp_path):
  path = tmp_path / "bad.py"
  path.write_text(text)
  with pytest.raises(ValueError, match=message) as error:
    config_tree.load(str(path))
  assert str(error.value).startswith(f"--config={path}: ")


def test_a_config_file_is_run_with_its_argument(tmp_path):
  path = tmp_path / "good.py"
  path.write_text(
    "from hyperclip_jax.training.config import paper\n"
    "def get_config(system='hycoclip'):\n  return paper(system)"
  )
  assert config_tree.load(str(path)).system == "hycoclip"
  assert config_tree.load(f"{path}:clip").system == "clip"
  with pytest.raises(FileNotFoundError, match="no such file"):
    config_tree.load(str(tmp_path / "none.py"))
