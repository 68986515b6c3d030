"""Checkpoints by Orbax: the state, and what is needed to go on from it."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from hyperclip_jax.state import TrainState


class Checkpoints:
  """The checkpoints of one workdir, saved asynchronously.

  Each holds the whole `TrainState` and `meta`: a JSON dict with the examples
  seen and the config. A step is visible only once it is complete.
  """

  def __init__(self, workdir: pathlib.Path, keep: int = 3):
    self._manager = ocp.CheckpointManager(
      workdir.absolute() / "checkpoints",
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, cleanup_tmp_directories=True
      ),
      item_names=("state", "meta"),
    )

  @property
  def latest_step(self) -> int | None:
    """The newest complete step, or None."""
    return self._manager.latest_step()

  def save(self, state: TrainState, meta: dict[str, Any]) -> None:
    """Starts to save; `state` may be donated once this returns."""
    self._manager.save(
      int(state.step),
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
      ),
    )

  def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
    """The newest state and its meta.

    Args:
      like: shapes, dtypes and shardings wanted (`jax.ShapeDtypeStruct`s).
    """
    step = self.latest_step
    if step is None:
      raise FileNotFoundError(f"no checkpoint in {self._manager.directory}")
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(like), meta=ocp.args.JsonRestore()
      ),
    )
    return restored["state"], restored["meta"]

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_) -> None:
    """Waits for what is being saved."""
    self._manager.wait_until_finished()
    self._manager.close()


def abstract(state: TrainState, shardings: Any) -> TrainState:
  """Shapes and dtypes of a state, placed by `shardings`."""
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    state,
    shardings,
  )
