"""Downloads and uploads models of the Hugging Face hub (extra `hub`)."""

import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from hyperclip_jax.files import HUB, shown

PREFIX = HUB
FORMS = f"{PREFIX}org/name, {PREFIX}org/name/FILE.pth, either with @revision"
LOGIN = "if it is private or gated: hf auth login"
RIGHTS = {"RepositoryNotFoundError", "GatedRepoError"}  # of huggingface_hub
CARD = "README.md"
FEW = 8  # files of a repository listed in a message

_PTH = r"[^@]+\.(?:pth|pt|ckpt)"
_ADDRESS = re.compile(
  rf"{PREFIX}(?P<repository>[^/@]+/[^/@]+)(?:/(?P<file>{_PTH}))?"
  r"(?:@(?P<revision>[^@]+?))?"
  r"(?:/(?P<after>[^/@]+\.(?:pth|pt|ckpt)))?"
)


class Address(NamedTuple):
  """Address of a model on the hub.

  Attributes:
    repository: "org/name".
    file: one file of the repository; None for a released model.
    revision: branch, tag or commit; None for the default branch.
  """

  repository: str
  file: str | None
  revision: str | None


def parse(source: str) -> Address:
  """Parses `hf-hub:org/name[/FILE.pth][@revision]`.

  The file may also come after the revision.

  Raises:
    ValueError: the address has another form.
  """
  found = _ADDRESS.fullmatch(source)
  if found is None or (found["file"] and found["after"]):
    raise ValueError(f"{shown(source)}: want {FORMS}")
  file = found["file"] or found["after"]
  return Address(found["repository"], file, found["revision"])


def download(
  source: str, files: list[str], others: Sequence[str] = ()
) -> pathlib.Path:
  """Downloads a model into the cache of `huggingface_hub`.

  Args:
    source: address in one of the forms of `FORMS`.
    files: names of the files that a released model consists of.
    others: names of files that it may have, too.

  Returns:
    Folder that holds `files`, or the one file that the address names.

  Raises:
    ImportError: the extra `hub` is not installed.
    OSError: the repository, revision or file does not exist, or the hub cannot
      be reached.
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
      hub.snapshot_download(
        repository, revision=revision, allow_patterns=[*files, *others]
      )
    )
    missing = [name for name in files if not (folder / name).is_file()]
    held = hub.list_repo_files(repository, revision=revision) if missing else []
  except Exception as error:  # from the hub, from HTTP, or for the name
    raise OSError(f"{source}: not downloaded: {_reason(error)}") from error
  if missing:
    raise FileNotFoundError(
      f"{source}: has no {' and no '.join(missing)}{_instead(address, held)}"
    )
  return folder


def upload(repository: str, folder: str, private: bool) -> str:
  """Uploads a folder to a repository, which is created if missing.

  A README.md that the repository has is kept: people edit their model cards.

  Args:
    repository: "org/name".
    folder: folder of a released model.
    private: whether to create the repository as a private one; an existing
      repository keeps its visibility.

  Returns:
    URL of the repository.

  Raises:
    ImportError: the extra `hub` is not installed.
    OSError: the hub rejects the upload or cannot be reached.
  """
  hub = _import_hub()
  try:
    url = hub.create_repo(repository, private=private, exist_ok=True)
    held = hub.list_repo_files(repository, revision=None)
    hub.upload_folder(
      repo_id=repository,
      folder_path=folder,
      commit_message="Add the model",
      ignore_patterns=[CARD] if CARD in held else None,
    )
  except Exception as error:  # from the hub, from HTTP, or for the name
    raise OSError(
      f"{PREFIX}{repository}: not uploaded: {_reason(error)}"
    ) from error
  return str(url)


def _reason(error: Exception) -> str:
  """Formats the hub's error on one line, with advice for missing rights."""
  text = shown(" ".join(str(error).split()))
  # The library may wrap the error of the HTTP request.
  chain = [error, error.__cause__, error.__context__]
  status = {
    getattr(getattr(e, "response", None), "status_code", None) for e in chain
  }
  kinds = {kind.__name__ for e in chain for kind in type(e).__mro__}
  return f"{text} ({LOGIN})" if kinds & RIGHTS or status & {401, 403} else text


def _instead(address: Address, held: list[str]) -> str:
  """Describes, for a message, what a repository holds instead of a model."""
  files = [name for name in held if re.fullmatch(_PTH, name)]
  if not files:
    names = ", ".join(shown(name) for name in held[:FEW])
    return f"; it has {names or 'no files'}"
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
