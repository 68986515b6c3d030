# HyperCLIP-JAX for training, evaluation and use.
#
#   docker build -t hyperclip .                                     # CPU
#   docker build -t hyperclip:cuda --build-arg EXTRAS=gpu,hub .     # CUDA 13
#   docker run --rm -v "$PWD:/data" hyperclip train --config=shapes_tiny \
#     --workdir=runs/shapes
#   docker run --rm --gpus all -v "$PWD:/data" hyperclip:cuda train ...
#
# The CUDA libraries come with JAX's wheels, so one base image serves both; the
# host needs a driver and the NVIDIA container toolkit. EXTRAS are extras of
# setup.py, such as gpu-cuda12 for older drivers, or torch.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG EXTRAS=hub
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

WORKDIR /opt/hyperclip-jax
COPY setup.py pyproject.toml MANIFEST.in README.md LICENSE ./
COPY configs configs
COPY launch launch
COPY hyperclip_jax hyperclip_jax
RUN pip install ".[${EXTRAS}]" && hyperclip --version

# Not as root: files that a run writes belong to the user of --user, or to this.
RUN useradd --create-home --uid 1000 hyperclip
USER hyperclip
WORKDIR /data

ENTRYPOINT ["hyperclip"]
CMD ["--help"]
