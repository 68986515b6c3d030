"""Saves and restores checkpoints with Orbax."""

import pathlib
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from hyperclip_jax.checkpoints import release
from hyperclip_jax.data.records import digests

State = TypeVar("State", bound=Any)

FOLDER = release.CHECKPOINTS
ITEMS = ("state", "meta")


class CheckpointError(OSError):
  """A checkpoint cannot be written, or no good one can be read."""


class Checkpoints:
  """Checkpoints of one workdir, saved asynchronously.

  Each contains the whole training state, `meta`, a JSON dict of what else is
  needed to resume, and digests of their files. Its folder is renamed when all
  of that is written, so a step is complete or absent.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    keep: int = 3,
    keep_every: int = 0,
    read_only: bool = False,
  ):
    """Opens a workdir's checkpoints.

    Args:
      workdir: folder of the run.
      keep: number of newest steps to keep.
      keep_every: steps divisible by it are kept as well; 0 for none.
      read_only: whether to leave all files as they are, since a run may be
        writing there.
    """
    self._folder = workdir.absolute() / FOLDER
    self._read_only = read_only
    self._saving: int | None = None
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        keep_period=keep_every or None,
        create=not read_only,
        cleanup_tmp_directories=not read_only,
        async_options=ocp.AsyncOptions(
          post_finalization_callback=self._write_digests
        ),
      ),
      item_names=ITEMS,
    )

  @property
  def steps(self) -> list[int]:
    """Steps that exist, ascending, good or bad."""
    return steps(self._folder.parent)

  def save(self, state: Any, meta: dict[str, Any]) -> None:
    """Starts to save; `state` may be donated once this returns.

    Args:
      state: tree of arrays, with the step under `step`.
      meta: JSON dict.

    Raises:
      CheckpointError: this step or the previous one cannot be written.
    """
    self.wait()
    self._saving = int(state.step)
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
    )
    try:
      saved = self._manager.save(self._saving, args=args)
    except (OSError, ValueError) as error:
      raise self._unwritten(error) from error
    if not saved:
      raise self._unwritten(ValueError("a newer step exists already"))

  def check(self) -> None:
    """Checks without waiting whether the last save failed.

    Raises:
      CheckpointError: it failed.
    """
    if not self._manager.is_saving_in_progress():
      self.wait()

  def wait(self) -> None:
    """Waits for a save in progress.

    Raises:
      CheckpointError: it failed.
    """
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      raise self._unwritten(error) from error

  def restore(self, like: State) -> tuple[State, dict[str, Any]]:
    """Restores the newest good step.

    Damaged steps are skipped with a warning, and moved aside unless read only.

    Args:
      like: shapes, dtypes and shardings wanted (`jax.ShapeDtypeStruct`s).

    Returns:
      State and metadata.

    Raises:
      FileNotFoundError: there is no step.
      CheckpointError: there is no good step.
    """
    step = self.newest_good()
    if "variables" not in _saved(self._folder / str(step)):
      raise CheckpointError(
        f"step {step} of {self._folder} was saved before systems had names: "
        "finish this run with the version that started it, or give another "
        "--workdir to start anew; its model can still be loaded"
      )
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(like), meta=ocp.args.JsonRestore()
      ),
    )
    return restored["state"], restored["meta"]

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, kind: type[BaseException] | None, *_) -> None:
    """Waits for a save in progress; an earlier error takes precedence."""
    try:
      self.wait()
    except CheckpointError as error:
      if kind is None:
        raise
      logging.error("%s", error)
    self._manager.close()

  def newest_good(self) -> int:
    """Finds the newest good step, the same on all processes.

    Raises:
      FileNotFoundError: there is no step.
      CheckpointError: there is no good step.
    """
    found = self.steps
    if not found:
      raise FileNotFoundError(f"no checkpoint in {self._folder}")
    good, bad = -1, []
    if jax.process_index() == 0:
      for step in reversed(found):
        trouble = digests.problem(self._folder / str(step))
        if trouble is None:
          good = step
          break
        bad.append(step)
        logging.error("CHECKPOINT %d IS BAD: %s", step, trouble)
    good = int(multihost_utils.broadcast_one_to_all(np.int32(good)))
    if good < 0:
      raise CheckpointError(
        f"no step of {self._folder} is good (found {found}): restore the "
        "folder from a copy, or move it away to train from the start"
      )
    if bad:
      logging.error("GOING BACK TO STEP %d of %s", good, self._folder)
    if not self._read_only:
      for step in bad:
        _move_aside(self._folder / str(step))
      multihost_utils.sync_global_devices("bad steps are moved")
      self._manager.reload()  # it refuses to save steps older than one it knows
    return good

  def _unwritten(self, error: Exception) -> CheckpointError:
    return CheckpointError(
      f"step {self._saving} cannot be saved in {self._folder}: {error}\n"
      f"Steps {self.steps} are safe: free some disk space, repair the storage "
      "or see why a peer died, then run the same command to continue"
    )

  def _write_digests(self) -> None:
    """Callback of Orbax before a complete checkpoint is renamed."""
    (folder,) = self._folder.glob(f"{self._saving}.orbax-checkpoint-tmp*")
    digests.write(folder, ITEMS)


def steps(workdir: pathlib.Path) -> list[int]:
  """Lists the steps of a workdir, ascending, good or bad.

  Folders whose name is not a number are ignored: unfinished saves, for example.
  """
  folder = workdir / FOLDER
  if not folder.is_dir():
    return []
  found = [p.name for p in folder.iterdir() if p.is_dir()]
  return sorted(int(n) for n in found if n.isdecimal() and str(int(n)) == n)


def verify(workdir: pathlib.Path) -> dict[int, str | None]:
  """Checks all steps of a workdir.

  Args:
    workdir: folder of the run.

  Returns:
    For each step its fault, or None if it is good.

  Raises:
    FileNotFoundError: there is no step.
  """
  found = steps(workdir)
  if not found:
    raise FileNotFoundError(f"no checkpoint in {workdir / FOLDER}")
  return {step: digests.problem(workdir / FOLDER / str(step)) for step in found}


def restore_variables(
  workdir: pathlib.Path, shapes: Any
) -> tuple[int, dict[str, Any]]:
  """Reads the variables of the newest good checkpoint, without optimizer state.

  Args:
    workdir: folder of the run, which may still be training.
    shapes: tree of `jax.ShapeDtypeStruct`s of the variables.

  Returns:
    Step, and arrays on the first local device.

  Raises:
    FileNotFoundError: there is no step.
    CheckpointError: there is no good step.
    ValueError: its variables differ from `shapes`.
  """
  with Checkpoints(workdir, read_only=True) as checkpoints:
    step = checkpoints.newest_good()
  folder = workdir.absolute() / FOLDER / str(step)
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  like: Any = {
    "variables": jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=device
      ),
      shapes,
    )
  }
  saved = _saved(folder)
  old = "variables" not in saved  # saved before systems had names
  found = {"params": saved.get("params")} if old else saved["variables"]
  if _shapes_of(found) != _shapes_of(like["variables"]):
    raise ValueError(
      f"{folder}: its variables are not those of the model in {workdir}: "
      "were files replaced?"
    )
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
    wanted = like["variables"] if old else like
    args = ocp.args.PyTreeRestore(
      item=wanted,
      restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
      partial_restore=True,
    )
    restored = reader.restore(folder / ITEMS[0], args=args)
  return step, restored if old else restored["variables"]


def _saved(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the tree structure of a saved step, without values."""
  handler: Any = ocp.PyTreeCheckpointHandler()
  return handler.metadata(folder / ITEMS[0]).tree


def _shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
  """Maps the path of each leaf to its shape, for any kind of dict."""
  leaves = jax.tree_util.tree_flatten_with_path(
    tree, is_leaf=lambda leaf: hasattr(leaf, "shape")
  )[0]
  return {
    "/".join(str(getattr(key, "key", key)) for key in path): tuple(leaf.shape)
    for path, leaf in leaves
  }


def abstract(state: State, shardings: Any) -> State:
  """Returns the shapes and dtypes of a state.

  Args:
    state: tree of arrays or shapes.
    shardings: tree of shardings.

  Returns:
    Tree of `jax.ShapeDtypeStruct`s with these shardings.
  """
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    state,
    shardings,
  )


def _move_aside(folder: pathlib.Path) -> None:
  """Renames N to bad-N, which no run reads, so that it can be inspected."""
  aside = folder.with_name(f"bad-{folder.name}")
  while aside.exists():
    aside = aside.with_name(f"{aside.name}-again")
  folder.rename(aside)
