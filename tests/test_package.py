"""The package as others get it: light to import, complete when built, arrows in one direction."""

import ast
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "workedpapers"
METHODS = sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))
# A method is torch and plain Python: nothing here reads, writes, plots or keeps state.
ALLOWED = {
    "__future__",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "enum",
    "fractions",
    "functools",
    "itertools",
    "math",
    "numbers",
    "torch",
    "typing",
}


def imports(path: Path) -> set[str]:
    """The absolute names of all that a module of the package imports, at whatever depth of the file."""
    here = path.relative_to(PACKAGE.parent).with_suffix("").parts
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def of_package(names: set[str]) -> set[str]:
    """The parts `x` of all `workedpapers.x` among the names."""
    return {name.split(".")[1] for name in names if name.startswith("workedpapers.")}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_imports_only_torch_plain_python_and_other_methods(method):
    names = imports(PACKAGE / f"{method}.py")
    assert {name.split(".")[0] for name in names} <= ALLOWED | {"workedpapers"}
    assert of_package(names) <= set(METHODS)


@pytest.mark.parametrize("room", ["lab", "tasks"])
def test_an_instrument_or_a_task_imports_no_method(room):
    for path in (PACKAGE / room).rglob("*.py"):
        assert not of_package(imports(path)) & {*METHODS, "experiments"}, path


def test_the_package_itself_exports_nothing():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    assert [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)] == []


def test_import_costs_at_most_a_third_of_a_second_more_than_torch():
    modules = ", ".join(["workedpapers", *(f"workedpapers.{method}" for method in METHODS)])
    program = f"import time, torch; start = time.perf_counter(); import {modules}; print(time.perf_counter() - start)"
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    assert statistics.median(float(run.stdout) for run in runs) <= 0.3


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    # The build backend by itself, so that no network is needed.
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.suffix in {".py", ".typed", ".jsonl"}
    }
    assert packed == there
    assert "workedpapers/py.typed" in packed
    assert any(name.endswith(".jsonl") for name in packed)
