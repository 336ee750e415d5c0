"""The shape of the package: which room may import which, that none runs in a circle, and that rooms stay small."""

import ast
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import fusc_pipeline

PACKAGE = Path(fusc_pipeline.__file__).parent
# What each room may import, lazily or not. A room that is not named here does not exist.
SEES = {
    "base": "",
    "host": "base",
    "store": "base host",
    "scans": "base host",
    "text": "base host scans",
    "phantom": "base",
    "training": "base host",
    "representation": "base host training",
    "clustering": "base training",
    "evaluation": "base",
    "pictures": "base evaluation",
    "audits": "base host store training representation clustering evaluation pictures",
    "report": "base evaluation pictures audits",
    "service": "base host store evaluation",
    "operations": "base host store scans",
    "ui": "base host operations",
}
_LIBRARIES = " ".join(room for room in SEES if room != "ui")
# The groups of `defs`, each of which may import those before it, and every library.
_GROUPS = ["engine", "ingestion", "text", "dataset", "representation", "clustering", "service", "evaluation"]
_GROUPS += ["automation", "owners", "table_checks", "build"]
for _place, _group in enumerate(_GROUPS):
    SEES[f"defs.{_group}"] = " ".join([_LIBRARIES, *(f"defs.{name}" for name in _GROUPS[:_place])])
SEES["cli"] = " ".join([*SEES])
SEES["definitions"] = "base host defs.build"
SEES["defs"] = ""

DAGSTER = ("operations", "defs", "cli", "ui", "definitions")
PIPES = "representation.train_rank"  # a trainer's process, which reports to the step that started it
LARGE = ("phantom", "scans", "text")  # rooms with more files than a newcomer reads at once, each a file a subject
# `checks` and `configs` are what a group's are called everywhere, `external` is another data set's three sides (drawn,
# scored, an asset), and a method has the name of the asset that runs it.
SAME_NAME = {"checks", "configs", "external", "kmeans", "fusc", "selflabel", "supervised"}


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _module(path): path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or path.stem != "__init__"
}


@cache
def imports(module: str) -> frozenset[str]:
    """Everything the module imports, lazily too; what is the package's by its name inside it, as far as it goes."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {name.partition(".")[2] for name in found if name.startswith("fusc_pipeline.")}
    inside = {name if name in MODULES else name.rpartition(".")[0] for name in inside}
    return frozenset({name for name in found if not name.startswith("fusc_pipeline")} | {f"/{name}" for name in inside})


def inside(module: str) -> set[str]:
    return {name[1:] for name in imports(module) if name.startswith("/")} - {module, ""}


def room(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "defs" else parts[0]


def test_arrows_go_down():
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        for name in inside(module)
        if room(name) not in {room(module), *SEES[room(module)].split()}
    ]
    assert not wrong


def test_no_import_runs_in_a_circle():
    TopologicalSorter({module: inside(module) for module in MODULES}).prepare()


def test_dagster_stays_where_it_belongs():
    for module in MODULES:
        dagster = {name for name in imports(module) if name.split(".")[0].startswith("dagster")}
        if module == PIPES:
            assert all(name.startswith("dagster_pipes") for name in dagster)
        elif module.split(".")[0] not in DAGSTER:
            assert not dagster, module


def test_what_dagster_does_not_promise_is_used_in_one_place():
    used = {
        module
        for module in MODULES
        for name in imports(module)
        if name.startswith(("dagster._", "dagster_webserver", "dagster_shared")) or name == "dagster._check"
    }
    assert used == {"operations.dagster_private"}


def test_rooms_are_small_and_say_what_belongs_in_them():
    packages = [path.parent for path in MODULES.values() if path.name == "__init__.py"]
    for folder in packages:
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        assert said.count(".") >= 2, f"{folder.name}: say what belongs there and what does not"
        if folder.parent != PACKAGE or folder.name not in LARGE:
            files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert len(files) <= 15, f"{folder.name} holds {len(files)} files"
    assert len([path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]) <= 3


def test_a_name_means_one_file():
    names = Counter(path.stem for path in MODULES.values() if path.name not in ("__init__.py", "__main__.py"))
    assert {name for name, times in names.items() if times > 1} <= SAME_NAME
