"""Folders to and from the Hugging Face hub (the extra `hub`)."""

import pathlib
from typing import Any

PREFIX = "hf-hub:"


def download(repository: str, files: list[str]) -> pathlib.Path:
  """A folder with the files of `repository` ("org/name"), kept by the hub.

  Raises:
    ImportError: the extra is missing.
    OSError: there is no such repository, or no way to it.
  """
  hub = _import_hub()
  try:
    folder = hub.snapshot_download(repository, allow_patterns=files)
  except Exception as error:  # of the hub, of HTTP, of the name
    raise OSError(f"{PREFIX}{repository}: not fetched: {error}") from error
  return pathlib.Path(folder)


def upload(repository: str, folder: str, private: bool) -> None:
  """Adds the files of a folder to `repository`, made where it is missing.

  Raises:
    ImportError, OSError: as `download`.
  """
  hub = _import_hub()
  try:
    hub.create_repo(repository, private=private, exist_ok=True)
    hub.upload_folder(
      repo_id=repository, folder_path=folder, commit_message="Add the model"
    )
  except Exception as error:  # of the hub, of HTTP, of the name
    raise OSError(
      f"{PREFIX}{repository}: not uploaded (`hf auth login`?): {error}"
    ) from error


def _import_hub() -> Any:
  try:
    import huggingface_hub
  except ImportError as error:
    raise ImportError(
      "the hub needs an extra: pip install 'hyperclip-jax[hub]'"
    ) from error
  return huggingface_hub
