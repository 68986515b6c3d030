"""What XManager is told."""

import sys
from unittest import mock

import pytest
import yaml

from launch import xm
from tests.launch.test_jobs import HOSTILE

FLAGS = ["--config=a.py", "--workdir=/gcs/bucket/vitb"]


def plan(capsys, *flags):
  assert xm.main([*FLAGS, *flags, "--dry_run"]) == 0
  return yaml.safe_load(capsys.readouterr().out)


def test_several_nodes_meet_by_their_environment(capsys):
  found = plan(
    capsys, "--executor=vertex", "--nodes=3", "--resource=a100=8",
    "--sweep=seed=0,1", f"--config.x={HOSTILE}", "--xm_use_kaniko",
  )  # fmt: skip
  assert found["executor"] == "vertex"
  assert found["nodes"] == 3
  assert found["resources"] == {"a100": 8.0}
  assert found["jobs"] == {
    f"vitb_seed={seed}": [
      "--coordinator=auto",
      "--config=a.py",
      f"--workdir=/gcs/bucket/vitb/seed={seed}",
      f"--config.x={HOSTILE}",
      f"--config.seed={seed}",
    ]
    for seed in (0, 1)
  }


def test_a_local_container_sees_the_workdir_and_volumes(capsys, tmp_path):
  flags = ["--config=a.py", "--workdir=runs/a", "--volume=data=/hyperclip/data"]
  assert xm.main([*flags, "--dry_run"]) == 0
  found = yaml.safe_load(capsys.readouterr().out)
  there = {here.rsplit("/", 1)[1]: to for here, to in found["volumes"].items()}
  assert there == {"data": "/hyperclip/data", "a": "/hyperclip/runs/a"}
  assert all(here.startswith("/") for here in found["volumes"])
  assert found["jobs"]["a"] == ["--config=a.py", "--workdir=runs/a"]


def test_one_image_of_what_a_run_needs(capsys, tmp_path):
  found = plan(capsys, "--executor=kubernetes", "--push_image_tag=r/h:1")
  assert found["push_image_tag"] == "r/h:1"
  assert found["instructions"][-1].endswith("--editable '.[gpu]'")
  xm.pack(tmp_path / "hyperclip")
  assert (tmp_path / "hyperclip/hyperclip_jax/data/feed/assets").is_dir()
  assert (tmp_path / "hyperclip/configs/grit_vitb.py").exists()
  assert not (tmp_path / "hyperclip/tests").exists()
  assert f"COPY hyperclip/ {xm.FOLDER}" in found["instructions"]


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--executor=kubernetes", "--nodes=2"], "for several take launch.k8s"),
    (["--resource=a100"], "not NAME=VALUE"),
    (["--resource=a100=many"], "many"),
    (["--executor=vertex", "--volume=a=/b"], "--volume needs --executor=local"),
    (["--executor=borg"], "borg"),
  ],
)
def test_what_does_not_go(flags, message, capsys):
  with pytest.raises(SystemExit):
    xm.main([*FLAGS, *flags, "--dry_run"])
  assert message in capsys.readouterr().err


def test_xmanager_is_named_where_it_is_missing(monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, "xmanager", None)
  with pytest.raises(SystemExit):
    xm.main(FLAGS)
  assert "pip install -e '.[launch]'" in capsys.readouterr().err


def test_a_group_of_one_and_the_others_for_each_job(capsys):
  found = plan(
    capsys, "--executor=vertex", "--nodes=3", "--resource=a100=8",
    "--sweep=seed=0,1",
  )  # fmt: skip
  core, local = mock.MagicMock(), mock.MagicMock()
  # The stand-in packs one executable.
  entered = local.create_experiment.return_value.__enter__.return_value
  entered.package.return_value = ["image"]
  xm.launch(xm.Plan(**found), core, local)
  needs = [mock.call({"a100": 8.0}, replicas=count) for count in (1, 2, 1, 2)]
  assert core.JobRequirements.call_args_list == needs
  groups = core.JobGroup.call_args_list
  assert [list(group.kwargs) for group in groups] == [["first", "others"]] * 2
  args = [call.kwargs["args"] for call in core.Job.call_args_list]
  first, second = found["jobs"].values()
  assert args == [first, first, second, second]
  assert entered.add.call_count == 2
  assert core.PythonContainer.call_args.kwargs["base_image"] == "python:3.12"
