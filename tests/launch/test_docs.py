"""docs/launch.md's commands are taken by the launchers as printed."""

import importlib
import re
import shlex

import pytest

from tests.test_main import ROOT

TEXT = (ROOT / "docs/launch.md").read_text(encoding="utf-8")
COMMANDS = [
  shlex.split(block.replace("\\\n", " "))
  for block in re.findall(r"```sh\n(python -m launch\..*?)```", TEXT, re.DOTALL)
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[2])
def test_command(command, capsys):
  launcher = importlib.import_module(command[2])
  assert launcher.main([*command[3:], "--dry_run"]) == 0
  (config,) = re.findall(r"--config=(\S+)", " ".join(command))
  assert (ROOT / config).exists()
  assert "--config=" in capsys.readouterr().out


def test_every_launcher_is_told():
  found = {command[2] for command in COMMANDS}
  assert found == {"launch.local", "launch.slurm", "launch.k8s", "launch.xm"}
