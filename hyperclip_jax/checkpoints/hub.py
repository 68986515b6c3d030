"""Models to and from the Hugging Face hub (the extra `hub`)."""

import pathlib
import re
from typing import Any, NamedTuple

from hyperclip_jax.files import shown

PREFIX = "hf-hub:"
FORMS = f"{PREFIX}org/name, {PREFIX}org/name/FILE.pth, either with @revision"
LOGIN = "if it is private or gated: hf auth login"
RIGHTS = {"RepositoryNotFoundError", "GatedRepoError"}  # of huggingface_hub
FEW = 8  # files of a repository in a message

_PTH = r"[^@]+\.(?:pth|pt|ckpt)"
_ADDRESS = re.compile(
  rf"{PREFIX}(?P<repository>[^/@]+/[^/@]+)(?:/(?P<file>{_PTH}))?"
  r"(?:@(?P<revision>[^@]+?))?"
  r"(?:/(?P<after>[^/@]+\.(?:pth|pt|ckpt)))?"
)


class Address(NamedTuple):
  """What is asked of the hub.

  Attributes:
    repository: "org/name".
    file: one file of it; None for a released model.
    revision: branch, tag or commit; None for the newest.
  """

  repository: str
  file: str | None
  revision: str | None


def parse(source: str) -> Address:
  """`hf-hub:org/name[/FILE.pth][@revision]`; the file may also come last.

  Raises:
    ValueError: it has another form.
  """
  found = _ADDRESS.fullmatch(source)
  if found is None or (found["file"] and found["after"]):
    raise ValueError(f"{shown(source)}: want {FORMS}")
  file = found["file"] or found["after"]
  return Address(found["repository"], file, found["revision"])


def download(source: str, files: list[str]) -> pathlib.Path:
  """Fetches a model, which the hub's own cache keeps.

  Args:
    source: address of the forms `FORMS`.
    files: names of the files of a released model.

  Returns:
    The folder of `files`, or the one file that the address names.

  Raises:
    ImportError: the extra is missing.
    OSError: there is no such repository, revision or file, or no way to it.
    ValueError: the address has another form.
  """
  address = parse(source)
  repository, file, revision = address
  hub = _import_hub()
  try:
    if file:
      return pathlib.Path(
        hub.hf_hub_download(repository, file, revision=revision)
      )
    folder = pathlib.Path(
      hub.snapshot_download(repository, revision=revision, allow_patterns=files)
    )
    missing = [name for name in files if not (folder / name).is_file()]
    held = hub.list_repo_files(repository, revision=revision) if missing else []
  except Exception as error:  # of the hub, of HTTP, of the name
    raise OSError(f"{source}: not fetched: {_reason(error)}") from error
  if missing:
    raise FileNotFoundError(
      f"{source}: holds no {' and no '.join(missing)}{_instead(address, held)}"
    )
  return folder


def upload(repository: str, folder: str, private: bool) -> str:
  """Adds the files of a folder to a repository, made where it is missing.

  Args:
    repository: "org/name".
    folder: folder of a released model.
    private: whether a repository that is made here is private.

  Returns:
    The repository's URL.

  Raises:
    ImportError: the extra is missing.
    OSError: the hub refuses it, or there is no way to it.
  """
  hub = _import_hub()
  try:
    url = hub.create_repo(repository, private=private, exist_ok=True)
    hub.upload_folder(
      repo_id=repository, folder_path=folder, commit_message="Add the model"
    )
  except Exception as error:  # of the hub, of HTTP, of the name
    raise OSError(
      f"{PREFIX}{repository}: not uploaded: {_reason(error)}"
    ) from error
  return str(url)


def _reason(error: Exception) -> str:
  """The hub's words on one line, and what to do where rights are missing."""
  text = shown(" ".join(str(error).split()))
  # The hub's library may wrap the error of the request.
  chain = [error, error.__cause__, error.__context__]
  status = {
    getattr(getattr(e, "response", None), "status_code", None) for e in chain
  }
  kinds = {kind.__name__ for e in chain for kind in type(e).__mro__}
  return f"{text} ({LOGIN})" if kinds & RIGHTS or status & {401, 403} else text


def _instead(address: Address, held: list[str]) -> str:
  """What a repository holds in place of a released model, for a message."""
  files = [name for name in held if re.fullmatch(_PTH, name)]
  if not files:
    names = ", ".join(shown(name) for name in held[:FEW])
    return f"; it holds {names or 'nothing'}"
  give = f"{PREFIX}{address.repository}/{shown(files[0])}"
  pin = f"@{address.revision}" if address.revision else ""
  return f", but {shown(files[0])}: give {give}{pin}"


def _import_hub() -> Any:
  try:
    import huggingface_hub
  except ImportError as error:
    raise ImportError(
      "the hub needs an extra: pip install 'hyperclip-jax[hub]'"
    ) from error
  return huggingface_hub
