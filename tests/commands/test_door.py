"""The command line itself: help, suggestions, defaults, and what it imports."""

import inspect
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hyperclip_jax
from hyperclip_jax.commands import door, parser
from hyperclip_jax.commands.flags import COMMANDS
from hyperclip_jax.data.embedded import shapes
from hyperclip_jax.data.ground.options import Options as Grounding
from hyperclip_jax.data.prepare.manifest import Options
from hyperclip_jax.data.records import box_forms
from hyperclip_jax.inference.walk import ROOT
from hyperclip_jax.reports import data


def refused(*argv):
  """The message that a command line ends with."""
  with pytest.raises(SystemExit) as stop:
    door.run(argv)
  message = str(stop.value.code)
  assert message.startswith("error: ")
  return message.removeprefix("error: ")


def defaults(name):
  return vars(parser.parse(COMMANDS[name].flags, [])[0])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name, capsys):
  assert door.run([name, "--help"]) == 0
  printed = capsys.readouterr().out
  assert printed.startswith(f"usage: hyperclip {name} ")
  assert all(len(line) <= 80 for line in printed.splitlines()[1:])
  for flag in COMMANDS[name].flags:
    assert f"\n  --{flag.name}" in printed


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_hyperclip_alone_lists_the_commands(argv, capsys):
  assert door.run(argv) == 0
  printed = capsys.readouterr().out
  assert printed.startswith("usage: hyperclip COMMAND")
  for name, command in COMMANDS.items():
    assert f"\n  {name} " in printed
    assert command.purpose in printed


def test_the_version(capsys):
  assert door.run(["--version"]) == 0
  assert capsys.readouterr().out == f"hyperclip {hyperclip_jax.__version__}\n"


def test_help_with_a_config_lists_its_values(tmp_path, capsys):
  config = tmp_path / "a.py"
  config.write_text(
    "from ml_collections import ConfigDict\n"
    "def get_config(n='3'):\n  return ConfigDict({'a': {'b': int(n)}})\n"
  )
  assert door.run(["train", f"--config={config}:7", "--help"]) == 0
  assert "\n  --config.a.b=7\n" in capsys.readouterr().out
  assert "no such file" in refused("train", "--config=none.py", "--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_named_with_the_one_that_was_meant(name):
  flag = COMMANDS[name].flags[0].name
  wrong = f"{flag}s"
  owners = [
    other
    for other, command in COMMANDS.items()
    if wrong in [known.name for known in command.flags]
  ]
  for argv in ([f"--{wrong}=x"], [f"--{wrong}", "x"], [f"-{wrong}", "x y"]):
    message = refused(name, *argv)
    if not owners:
      assert message == f"{name} has no flag --{wrong}, did you mean --{flag}?"


@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"report"}))
def test_strays_and_overrides_that_count_for_nothing_are_refused(name):
  assert refused(name, "stray", "*.jpg").startswith("stray arguments: stray *")
  if COMMANDS[name].overrides is not None:
    message = refused(name, "--config.seed=1")
    assert message.startswith(f"--config.seed=1 changes nothing with {name}")


@pytest.mark.parametrize(
  "name", sorted({*COMMANDS} - {"prepare", "ground", "report"})
)
def test_what_is_needed_is_asked_for(name):
  needed = [flag for flag in COMMANDS[name].flags if flag.needed]
  wanted = [f"give --{f.name}={f.form}: {f.purpose}" for f in needed]
  assert refused(name).split("\n  ") == wanted


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["trian"], "no command 'trian', did you mean train? There are train, ev"),
    (["xyz"], "no command 'xyz'. There are train, "),
    (["--config=a"], "no command '--config=a': write hyperclip COMMAND --N"),
    (["\x1b[2J"], "no command '\\x1b[2J'"),
    (["train", "--\x1b[2J"], "train has no flag --\\x1b[2J"),
    (["index", "--shards=a", "--output=b"], "--output is a flag of encode, e"),
    (["report", "--limit=9e9"], "--limit: want a whole number from 1 on, fou"),
    (["prepare", "--boxes=pixel"], "found 'pixel', did you mean pixels?"),
    (["demo", "--model"], "--model: expected one argument"),
  ],
)
def test_bad_lines(argv, message):
  assert refused(*argv).startswith(message) or message in refused(*argv)


@pytest.mark.parametrize(
  ("argv", "json"),
  [
    ([], False),
    (["--json"], True),
    (["-json"], True),
    (["--json=true"], True),
    (["--json=False"], False),
    (["--nojson"], False),
    (["--json", "--nojson"], False),
    (["--nojson", "--json=1"], True),
  ],
)
def test_truths(argv, json):
  assert parser.parse(COMMANDS["search"].flags, argv)[0].json is json


def test_lists_are_joined_however_they_are_given():
  argv = ["--images=a", "--images", "b", "c", "--images=d=e f"]
  values, rest = parser.parse(COMMANDS["classify"].flags, argv)
  assert values.images == ["a", "b", "c", "d=e f"]
  assert values.templates == ["a photo of a {}."]
  assert rest == []
  argv = ["--templates={}"]
  values, _ = parser.parse(COMMANDS["classify"].flags, argv)
  assert values.templates == ["{}"]


@given(st.text())
def test_any_text_is_a_value(text):
  values, rest = parser.parse(COMMANDS["train"].flags, [f"--config={text}"])
  assert (values.config, rest) == (text, [])


@given(st.integers())
def test_whole_numbers(number):
  argv = [f"--top={number}"]
  if 1 <= number < 10**18:
    assert parser.parse(COMMANDS["search"].flags, argv)[0].top == number
  else:
    with pytest.raises(ValueError, match=r"^--top: want a whole number from 1"):
      parser.parse(COMMANDS["search"].flags, argv)


def test_defaults_are_those_of_the_functions():
  for name, function in (
    ("shapes", shapes.generate),
    ("report", data.write_report),
  ):
    wanted = {
      key: found.default
      for key, found in inspect.signature(function).parameters.items()
      if found.kind is found.KEYWORD_ONLY
    }
    assert defaults(name).items() >= wanted.items()
  assert defaults("prepare").items() >= Options()._asdict().items()
  assert defaults("traverse")["to"] == ROOT
  for unit in box_forms.UNITS:
    argv = [f"--boxes={unit}", f"--box_format={box_forms.SIZES}"]
    parser.parse(COMMANDS["prepare"].flags, argv)


def test_runs_to_compare_need_no_flag():
  found = door.parsed("report", ["a", "--output", "c.html", "b"])
  assert found.runs == ["a", "b"]
  assert "report has no flag --flag" in refused("report", "a", "--flag")


def test_names_may_have_dashes():
  flags = ["--min-side=7", "--require-boxes", "--input=a-b", "--output", "c-d"]
  values = door.parsed("prepare", flags)
  assert (values.min_side, values.require_boxes) == (7, True)
  assert (values.input, str(values.output)) == (["a-b"], "c-d")
  assert "did you mean --min_side?" in refused("prepare", "--min-sides=3")


def test_ground_has_the_defaults_of_its_options():
  found = defaults("ground")
  for name in ("nms_iou", "min_side", "drop_contained", "tokens", "shard_size"):
    assert found[name] == getattr(Grounding(), name), name


def test_help_and_errors_import_nothing_heavy():
  code = (
    "import sys\nfrom hyperclip_jax.commands import door\n"
    "for name in door.COMMANDS: door.run([name, '--help'])\n"
    "try: door.run(['demo', '--modle=x'])\nexcept SystemExit: pass\n"
    "print({'jax', 'numpy', 'PIL', 'orbax'} & {*sys.modules})"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.splitlines()[-1] == "set()"


def test_every_command_has_its_work():
  for command in COMMANDS.values():
    module, _, function = command.work.partition(":")
    found = __import__(f"hyperclip_jax.commands.{module}", fromlist=[function])
    assert callable(getattr(found, function))
