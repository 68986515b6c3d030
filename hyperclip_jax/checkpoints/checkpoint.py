"""Checkpoints by Orbax: the state, and what is needed to go on from it."""

import pathlib
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from hyperclip_jax.data.records import digests

State = TypeVar("State", bound=Any)

FOLDER = "checkpoints"
ITEMS = ("state", "meta")


class CheckpointError(OSError):
  """A checkpoint that cannot be written, or none that can be read."""


class Checkpoints:
  """The checkpoints of one workdir, saved asynchronously.

  Each holds the whole training state, `meta`, a JSON dict of what else a run
  goes on from, and the digests of their files. It takes its name when all of
  that is written, so a step is there whole or not at all.
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
      workdir: of the run.
      keep: so many of the newest steps are kept.
      keep_every: those whose number it divides are kept as well; 0 for none.
      read_only: leave all as it is, for a run may be writing there.
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
    """The steps that are there, ascending, good or bad."""
    return steps(self._folder.parent)

  def save(self, state: Any, meta: dict[str, Any]) -> None:
    """Starts to save; `state` may be donated once this returns.

    Raises:
      CheckpointError: this step or the one before cannot be written.
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
      raise self._unwritten(ValueError("a newer step is there already"))

  def check(self) -> None:
    """Looks whether the last save failed; waits for nothing.

    Raises:
      CheckpointError: it did.
    """
    if not self._manager.is_saving_in_progress():
      self.wait()

  def wait(self) -> None:
    """Waits for what is being saved.

    Raises:
      CheckpointError: it failed.
    """
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      raise self._unwritten(error) from error

  def restore(self, like: State) -> tuple[State, dict[str, Any]]:
    """The newest good state and its meta.

    Steps whose files are not as they were written are passed over with a
    warning, and moved aside unless read only.

    Args:
      like: shapes, dtypes and shardings wanted (`jax.ShapeDtypeStruct`s).

    Raises:
      FileNotFoundError: there is no step.
      CheckpointError: there is no good one.
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
    """Waits for what is being saved; an error on its way out goes first."""
    try:
      self.wait()
    except CheckpointError as error:
      if kind is None:
        raise
      logging.error("%s", error)
    self._manager.close()

  def newest_good(self) -> int:
    """The newest good step: the first process looks, all agree.

    Raises:
      FileNotFoundError: there is no step.
      CheckpointError: there is no good one.
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
      self._manager.reload()  # it saves no step older than one it knows
    return good

  def _unwritten(self, error: Exception) -> CheckpointError:
    return CheckpointError(
      f"step {self._saving} cannot be saved in {self._folder}: {error}\n"
      f"Steps {self.steps} are safe: free some room, mend the storage or see "
      "why a peer died, and the same command goes on from the last"
    )

  def _write_digests(self) -> None:
    """What Orbax calls when all is written and the name is to be taken."""
    (folder,) = self._folder.glob(f"{self._saving}.orbax-checkpoint-tmp*")
    digests.write(folder, ITEMS)


def steps(workdir: pathlib.Path) -> list[int]:
  """The steps that a workdir has, ascending, good or bad.

  Anything but a folder named by a number is a stranger's, or half a save.
  """
  folder = workdir / FOLDER
  if not folder.is_dir():
    return []
  found = [p.name for p in folder.iterdir() if p.is_dir()]
  return sorted(int(n) for n in found if n.isdecimal() and str(int(n)) == n)


def verify(workdir: pathlib.Path) -> dict[int, str | None]:
  """What is wrong with each step of a workdir; None if it is good.

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
  """Reads the variables of the newest good checkpoint, and no optimizer state.

  Args:
    workdir: folder of the run, which may be writing there.
    shapes: tree of `jax.ShapeDtypeStruct`s of the variables.

  Returns:
    The step, and arrays on the first local device.

  Raises:
    FileNotFoundError: there is no step.
    CheckpointError: there is no good one.
    ValueError: its variables are others than those wanted.
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
      f"{folder}: holds other variables than the model of {workdir} has: "
      "were its files replaced?"
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
  """The tree of what a step has saved, without its values."""
  handler: Any = ocp.PyTreeCheckpointHandler()
  return handler.metadata(folder / ITEMS[0]).tree


def _shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
  """Path -> shape of each leaf, however a tree's dicts are made."""
  leaves = jax.tree_util.tree_flatten_with_path(
    tree, is_leaf=lambda leaf: hasattr(leaf, "shape")
  )[0]
  return {
    "/".join(str(getattr(key, "key", key)) for key in path): tuple(leaf.shape)
    for path, leaf in leaves
  }


def abstract(state: State, shardings: Any) -> State:
  """Shapes and dtypes of a state, placed by `shardings`."""
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    state,
    shardings,
  )


def _move_aside(folder: pathlib.Path) -> None:
  """Renames N to bad-N, which no run reads; the user may look or remove it."""
  aside = folder.with_name(f"bad-{folder.name}")
  while aside.exists():
    aside = aside.with_name(f"{aside.name}-again")
  folder.rename(aside)
