"""Exports the towers of a model to ONNX (extra `onnx`)."""

import dataclasses
import importlib
import json
import logging
import pathlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import jax
import jax.core
import jax.export
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal
from jax.typing import DTypeLike
from jaxtyping import Array

from hyperclip_jax.files import write_whole
from hyperclip_jax.geometry import spaces
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.systems import dual_encoder

IMAGE, TEXT = "image.onnx", "text.onnx"
OPSET = 21


def export(model: HyperCLIP, folder: pathlib.Path) -> list[pathlib.Path]:
  """Writes `image.onnx` and `text.onnx`, each for any number of rows.

  They compute, in float32, what `encode_image` and `encode_text` return:

    image.onnx  pixels (n, side, side, 3) uint8 -> embeddings (n, dim)
    text.onnx   tokens (n, context) int32 -> embeddings (n, dim)

  Their metadata hold the space and the scale of logits as JSON, sizes, and the
  model's fingerprint.

  Args:
    model: model of a system of two transformers.
    folder: folder to write to; created if missing.

  Returns:
    Paths of the files.

  Raises:
    ImportError: the extra `onnx` is not installed.
    OSError: a file cannot be written.
    ValueError: towers of this system cannot be exported.
  """
  if not isinstance(model.options, dual_encoder.Options):
    raise ValueError(
      f"towers of {model.system} cannot be exported: only systems of two "
      "transformers can, such as clip, meru and hycoclip"
    )
  _import("jax2onnx")
  options = dataclasses.replace(
    model.options, dtype="float32", remat="none", unroll=False
  )
  towers = model.towers(options)
  space = towers.space(model.params)

  def image(pixels: Array) -> Array:
    rows = pixels.astype(jnp.float32) / 255
    return space.lift(towers.image(model.variables, rows))

  def text(tokens: Array) -> Array:
    return space.lift(towers.text(model.variables, tokens))

  side = model.image_size
  metadata = {
    "system": model.system,
    "space": json.dumps(spaces.to_json(model.space)),
    "logit_scale": repr(model.logit_scale),
    "image_size": str(side),
    "context": str(model.context),
    "width": str(model.width),
    "fingerprint": model.fingerprint,
  }
  folder.mkdir(parents=True, exist_ok=True)
  pixels, tokens = (side, side, 3), (model.context,)
  found = {
    IMAGE: _converted(image, "pixels", pixels, jnp.uint8, metadata),
    TEXT: _converted(text, "tokens", tokens, jnp.int32, metadata),
  }
  for name, content in found.items():
    write_whole(folder / name, content)
  return [folder / name for name in found]


def _converted(
  tower: Callable[[Array], Array],
  name: str,
  shape: tuple[int, ...],
  dtype: DTypeLike,
  metadata: dict[str, str],
) -> bytes:
  """Converts a function of rows to a model of any number of rows."""
  (count,) = jax.export.symbolic_shape("n")
  rows = jax.ShapeDtypeStruct((count, *shape), dtype)
  # Traced here, a layer after the other, since ONNX runs loops slowly; the
  # exporter gets primitives alone.
  with jax.disable_jit():
    traced = jax.make_jaxpr(tower)(rows)
  for exporter in ("jax2onnx", "onnx_ir"):  # of plugins that are not used
    logging.getLogger(exporter).setLevel(logging.ERROR)
  with warnings.catch_warnings():
    # The exporter uses names that JAX will rename.
    warnings.simplefilter("ignore", DeprecationWarning)
    model = _import("jax2onnx").to_onnx(
      _plain(traced),
      [rows],
      model_name=name,
      opset=OPSET,
      input_names=[name],
      output_names=["embeddings"],
    )
  for key, value in metadata.items():
    model.metadata_props.add(key=key, value=value)
  return model.SerializeToString()


def _plain(traced: ClosedJaxpr) -> Callable[[Array], Array]:
  """Makes the function of a trace, for the exporter.

  What does not depend on the rows is computed here, such as the causal mask,
  whose selection among booleans ONNX Runtime lacks. Slices take the place of
  `unstack`, a primitive that the exporter does not know.
  """

  def run(rows: Array) -> Array:
    (out,) = _outputs(traced, [rows])
    return out

  return run


def _outputs(traced: ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
  jaxpr = traced.jaxpr
  values = dict(zip(jaxpr.constvars, traced.consts, strict=True))
  values |= zip(jaxpr.invars, inputs, strict=True)

  def value(v: Any) -> Any:
    return v.val if isinstance(v, Literal) else values[v]

  for eqn in jaxpr.eqns:
    given = [value(v) for v in eqn.invars]
    known = not any(isinstance(x, jax.core.Tracer) for x in given) and all(
      isinstance(side, int) for v in eqn.outvars for side in v.aval.shape
    )
    with jax.ensure_compile_time_eval() if known else nullcontext():
      values |= zip(eqn.outvars, _bound(eqn, given), strict=True)
  return [value(v) for v in jaxpr.outvars]


def _bound(eqn: JaxprEqn, given: list[Any]) -> Sequence[Any]:
  if eqn.primitive.name == "custom_jvp_call":  # without its derivative
    return _outputs(eqn.params["call_jaxpr"], given)
  if eqn.primitive.name == "unstack":
    axis = eqn.params["axis"]
    return [
      jax.lax.index_in_dim(given[0], i, axis, keepdims=False)
      for i in range(len(eqn.outvars))
    ]
  found = eqn.primitive.bind(*given, **eqn.params)
  return found if eqn.primitive.multiple_results else [found]


def _import(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ImportError(
      "export needs an extra: pip install 'hyperclip-jax[onnx]'"
    ) from error
