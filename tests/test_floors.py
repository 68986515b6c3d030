"""No module imports from a floor above its own, and none in a circle."""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).parents[1] / "hyperclip_jax"
FLOORS = (
  {"console", "files", "sections"},
  {"data", "geometry"},
  {"losses", "nn", "optim"},
  {"systems", "trees"},
  {"checkpoints"},
  {"inference"},
  {"evals"},
  {"training"},
  {"reports"},
  {"commands"},
  {"__main__", "main"},
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def imports():
  """Module -> the modules of the package that it imports, also in functions."""
  names = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
  }

  def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
      module = getattr(node, "module", None) or ""
      if isinstance(node, ast.ImportFrom) and module.startswith(
        "hyperclip_jax"
      ):
        base = module.removeprefix("hyperclip_jax").lstrip(".")
        for alias in node.names:
          full = f"{base}.{alias.name}".lstrip(".")
          package = f"{full}.__init__"
          yield full if full in names else package if package in names else base

  return {
    name: {one for one in imported(path) if one}
    for name, path in names.items()
    if name != "__init__"
  }


def test_every_module_has_a_room():
  assert {name.split(".")[0] for name in imports()} <= LEVEL.keys()


def test_nothing_imports_from_above():
  climbs = [
    f"{name} -> {other}"
    for name, others in imports().items()
    for other in others
    if LEVEL[other.split(".")[0]] > LEVEL[name.split(".")[0]]
  ]
  assert not climbs


def test_there_is_no_circle():
  left = imports()
  while left:
    free = [name for name, others in left.items() if not others & left.keys()]
    assert free, f"a circle among {sorted(left)}"
    left = {name: left[name] for name in left if name not in free}
