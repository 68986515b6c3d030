"""Training, from a config to a trained workdir."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.checkpoints.release import CONFIG_FILE
from hyperclip_jax.data.feed import distortions as distort
from hyperclip_jax.data.feed import pipeline
from hyperclip_jax.data.feed.augment import crop_resize
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.data.records import identity
from hyperclip_jax.evals import held_out
from hyperclip_jax.files import write_whole
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.systems import build
from hyperclip_jax.systems.objectives import USES_BOXES
from hyperclip_jax.training import goodput, log, runs, sharding, signals
from hyperclip_jax.training import health as health_lib
from hyperclip_jax.training import step as state_lib
from hyperclip_jax.training.claim import claimed
from hyperclip_jax.training.config import Config
from hyperclip_jax.training.runs import Run, sample
from hyperclip_jax.training.step import Inputs, TrainState
from hyperclip_jax.training.trace import Trace
from hyperclip_jax.training.watchdog import Watchdog

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def train(run: Run) -> HyperCLIP | None:
  """Trains from the newest checkpoint, or from scratch, to `config.steps`.

  Returns:
    The trained model; None when stopped.
  """
  clock = goodput.Clock()
  config, mesh = run.config, run.mesh
  main_process = jax.process_index() == 0
  run.workdir.mkdir(parents=True, exist_ok=True)
  data = sample(config, run.sources) if config.eval_every else None
  step_fn = make_step(run)

  with contextlib.ExitStack() as stack:
    enter = stack.enter_context
    enter(claimed(run.workdir))
    if main_process:
      text = config.to_json(indent=2) + "\n"
      write_whole(run.workdir / CONFIG_FILE, text)
    keep, keep_every = config.checkpoint.keep, config.checkpoint.keep_every
    checkpoints = enter(checkpoint.Checkpoints(run.workdir, keep, keep_every))
    state, meta = first_state(run, checkpoints)
    if main_process:
      runs.remember_data(run)
    begin, examples_seen = int(state.step), meta["examples_seen"]
    if begin < config.steps:
      log.say(runs.summary(run, _count(state.params), begin))
    writer = log.Writer(run.workdir if main_process else None, begin)
    enter(writer)
    if main_process:
      log.cut(run.workdir / health_lib.FILE, begin)
    profile = run.workdir / "profile" if main_process else None
    trace = enter(Trace(profile, config.profile.first, config.profile.steps))
    stop = enter(signals.saving())
    watchdog = Watchdog(
      run.workdir, config.stall_seconds, config.data.slow_seconds
    )
    enter(watchdog)  # the last, to leave first
    health = make_health(run, begin, examples_seen)
    window = log.Window(meta["window"], health.look)
    faults = Faults(
      config.data.max_bad,
      bad=meta.get("bad_records", 0),
      seen=examples_seen // jax.process_count(),
    )
    data_digest = identity.digest([source.shards for source in run.sources])
    batches = make_batches(run, examples_seen, faults)

    def evaluate(step: int) -> None:
      if not data or step % config.eval_every or not 0 < step < config.steps:
        return
      params = sharding.to_host(state.params)
      with clock.on("evaluation"):  # on every process, a share on each
        results = held_out.evaluate(_model(config, params), data).results
      log.say(f"step {step}  {held_out.summary(results)}")
      writer.write(step, results)

    clock.started()
    progress = log.Progress(config.steps, config.batch_size, clock.trained)
    evaluate(begin)  # the run may have ended before it had done so
    for step in range(begin + 1, config.steps + 1):
      trace.at(step, state)
      with jax.profiler.StepTraceAnnotation("train", step_num=step):
        watchdog.waits_for("batch")
        with clock.on("data"):
          batch = sharding.to_global(next(batches), mesh)
        watchdog.waits_for("step")
        state, step_metrics = clock.step(step_fn, state, batch)
      examples_seen += config.batch_size
      window.add(step, step_metrics)
      stopped = stop(step)  # asked once: a signal may come at any line
      last = step == config.steps

      if last or step % config.log_every == 0:
        with clock.on("device"):
          values = window.close()
        bad = float(faults.until(examples_seen))
        values |= {"bad_records": bad, **clock.split()}
        writer.write(step, values | progress.report(step, values))
      if last or stopped or step % config.checkpoint.every == 0:
        meta = {
          "examples_seen": examples_seen,
          "bad_records": faults.until(examples_seen),
          "data": data_digest,
          "window": window.rows(),
          "config": config.to_dict(),
        }
        with clock.on("checkpoint"):
          checkpoints.save(state, meta)
      checkpoints.check()
      if last or stopped:
        writer.write(step, clock.report())
      if stopped:
        checkpoints.wait()
        log.say(f"stopped; step {step} is saved, the same command goes on")
        return None
      evaluate(step)
      watchdog.stepped()

    params = sharding.to_host(state.params)
    checkpoints.wait()
    return _model(config, params)


def first_state(
  run: Run, checkpoints: checkpoint.Checkpoints | None = None
) -> tuple[TrainState, dict[str, Any]]:
  """The newest checkpoint's state and meta, or a fresh state and its meta.

  The meta holds the "examples_seen" and the "window" of metrics since the last
  log; that of a checkpoint also the "bad_records" met and a digest of the
  "data" it was trained on.

  Raises:
    DataChangedError: the run now reads other data, which is not allowed.
  """
  shapes, shardings = _shapes(run)
  if checkpoints is None or not checkpoints.steps:
    fresh = {"examples_seen": 0, "window": []}
    return jax.jit(build.init(run.config), out_shardings=shardings)(), fresh
  like = checkpoint.abstract(shapes, shardings)
  state, meta = checkpoints.restore(like)
  runs.check_data(run, meta)
  log.say(f"resumed from step {int(state.step)}")
  return state, meta


def _shapes(run: Run) -> tuple[TrainState, TrainState]:
  """The state's shapes and shardings."""
  shapes = jax.eval_shape(build.init(run.config))
  fsdp = run.config.mesh.fsdp
  return shapes, sharding.tree_shardings(run.mesh, shapes, fsdp)


def make_step(run: Run) -> Step:
  """The jitted update: augment a batch, embed it, step; donates the state."""
  config = run.config
  model, objective = build.model(config), build.objective(config, run.mesh)
  optimizer, schedule = build.optimizer(config), build.schedule(config)
  distortions = distort.Options(**config.data.distortions)

  def read(batch: Batch) -> Inputs:
    return augment(batch, config.model.image_size, distortions)

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    with nn.intercept_methods(sharding.rows_over_data(run.mesh)):
      new_state, metrics = state_lib.update(
        state, batch, model, objective, optimizer, read, config.micro_batches
      )
    metrics["learning_rate"] = jnp.asarray(schedule(state.step))
    return new_state, metrics

  # Left to itself, XLA leaves mesh axes of size 1 out, and the second step,
  # whose state is then another in name, would be compiled again.
  _, shardings = _shapes(run)
  return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))


def augment(
  batch: Batch, image_size: int, distortions: distort.Options
) -> Inputs:
  """Canvases, crop rectangles and seeds -> what the towers read."""

  def pixels(image: str, crop: str, seed: str) -> jax.Array:
    cropped = crop_resize(batch[image], batch[crop], image_size)
    return distort.augment(cropped, batch[seed], distortions)

  inputs = Inputs(pixels("image", "image_crop", "image_seed"), batch["text"])
  if "box_image" not in batch:
    return inputs
  return inputs._replace(
    box_image=pixels("box_image", "box_crop", "box_seed"),
    box_text=batch["box_text"],
    distinct=batch["distinct"],
    valid=batch.get("valid"),
  )


def make_batches(
  run: Run, examples_seen: int, faults: Faults
) -> Iterator[dict[str, Any]]:
  """This process's batches, from a position in the global order on."""
  config, data = run.config, run.config.data
  lengths = tuple(data.text_buckets)
  make = pipeline.MakeBatch(
    run.sources,
    faults,
    canvas=data.canvas,
    context=config.model.text.context,
    # Processes would have to agree on a length at every step.
    text_lengths=lengths if jax.process_count() == 1 else lengths[-1:],
    crop_scale=tuple(data.crop_scale),
    white_border=data.white_border,
    parts=_parts(config),
    tokenizer=Tokenizer(config.model.text.vocab),
    upright=data.upright,
  )
  return pipeline.batches(
    run.sources,
    make,
    weights=tuple(data.weights) or (1.0,),
    batch_size=config.batch_size // jax.process_count(),
    seed=config.seed,
    examples_seen=examples_seen,
    threads=data.threads,
    prefetch=data.prefetch,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def _parts(config: Config) -> int:
  """Parts of each example that a batch has room for."""
  uses_boxes = config.objective.name in USES_BOXES
  return config.data.parts_per_image if uses_boxes else 0


def make_health(run: Run, step: int, examples_seen: int) -> health_lib.Health:
  """What looks after the steps of a run from `step` and `examples_seen` on."""
  size, seed = run.config.batch_size, run.config.seed
  weights = tuple(run.config.data.weights) or (1.0,)

  def names(which: int) -> list[str]:
    first = examples_seen + (which - step - 1) * size
    positions = range(first, first + size)
    return pipeline.names(
      run.sources, weights, seed, positions, _parts(run.config)
    )

  return health_lib.Health(run.workdir, run.config.max_bad_steps, names)


def _count(params: Any) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def _model(config: Config, params: Any) -> HyperCLIP:
  return HyperCLIP(
    config.objective.name, build.model(config), params, config.model.image_size
  )
