"""The house rules that no tool checks: imports go downwards, the inner parts touch no file, start-up stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "wsdiag"
# Who may import whom, from the inside out; a layer sees itself and those before it.
LAYERS = {
    "record": {"record"},
    "pattern": {"pattern"},
    "model": {"model", "record"},
    "wire": {"model", "record", "pattern", "wire"},
    "rules": {"model", "record", "pattern", "wire", "rules"},
    "intake": {"model", "record", "pattern", "wire", "intake", "rules"},
}
# What the inner parts must not touch: files, sockets, clocks, locales, and scapy.
FORBIDDEN = {"socket", "time", "datetime", "locale", "scapy", "os", "pathlib", "click", "rich", "jinja2", "asyncio"}
# The signature tables are files, and one module may read them, once.
MAY_READ_TABLES = {"rules/tables.py"}
# What the decode path must never load.
HEAVY = {
    "scapy",
    "rich",
    "jinja2",
    "asyncio",
    "ssl",
    "click",
    "inspect",
    "dataclasses",
    "tomllib",
    "re2",
    "cryptography",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def layer(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    allowed = LAYERS.get(layer(path))
    if allowed is None:
        return
    for name in imported(path):
        if name == "wsdiag" or name.startswith("wsdiag."):
            target = name.split(".")[1] if "." in name else "model"
            assert target in allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_inner_parts_touch_nothing_outside(path: Path) -> None:
    if layer(path) not in ("model", "wire", "rules") or str(path.relative_to(PACKAGE)) in MAY_READ_TABLES:
        return
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & FORBIDDEN


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_about(path: Path) -> None:
    if path.name != "__init__.py" or path.read_text().strip():
        assert ast.get_docstring(ast.parse(path.read_text()))


def test_decode_loads_nothing_heavy() -> None:
    """Run in a process of its own, since the test suite has everything loaded already."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "sys.argv = ['wsdiag', 'decode', '474554202f20485454502f312e31']\n"
        "from wsdiag.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "wsdiag" in loaded
    assert not loaded & HEAVY


def test_top_level_holds_nothing_else() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= {
        "pyproject.toml",
        "README.md",
        "wsdiag",
        "tests",
        "samples",
    }
