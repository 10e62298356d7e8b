"""The shape of the code: small functions, small modules, each with a word on what it is."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.tidy import exceptions
from tests.tidy.repository import (
    ROOT,
    functions,
    imports,
    module_of,
    name_of,
    python_files,
    tree,
)

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
COLUMNS_MAX = 100
CODE = ("streams", "benchmarks", "tests")


def judge(offenders: Iterable[str], excepted: Mapping[str, str]) -> None:
    """Fail for offenders without an exception, and for exceptions without an offender."""
    found = {offender.split(" ")[0]: offender for offender in offenders}
    new = sorted(text for name, text in found.items() if name not in excepted)
    stale = sorted(set(excepted) - set(found))
    assert not new, f"mend these, or give a reason in tests/tidy/exceptions.py: {new}"
    assert not stale, f"no longer needed in tests/tidy/exceptions.py: {stale}"


def test_functions_fit_on_a_page() -> None:
    """No function has more than 70 lines, decorators aside."""
    counts = {
        name: (function.end_lineno or function.lineno) - function.lineno + 1
        for path in python_files(*CODE)
        for name, function in functions(path)
    }
    long = [f"{name} has {n} lines" for name, n in counts.items() if n > FUNCTION_LINES_MAX]
    judge(long, exceptions.LONG_FUNCTIONS)


def test_modules_hold_one_idea() -> None:
    """No module has more than 500 lines."""
    counts = {name_of(path): len(path.read_bytes().splitlines()) for path in python_files(*CODE)}
    long = [f"{name} has {n} lines" for name, n in counts.items() if n > MODULE_LINES_MAX]
    judge(long, exceptions.LONG_MODULES)


def test_lines_fit_in_a_hundred_columns() -> None:
    """No line of code is longer than 100 columns, unless it holds an address."""
    long = [
        f"{name_of(path)}:{number}"
        for path in python_files(*CODE)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > COLUMNS_MAX and "://" not in line
    ]
    judge(long, {})


def test_modules_say_what_they_own() -> None:
    """Every module of the package, the tests and the benchmarks opens with a real docstring."""
    silent = [
        name_of(path)
        for path in python_files(*CODE)
        if path.read_bytes().strip() and (ast.get_docstring(tree(path)) or "TODO") == "TODO"
    ]
    judge(silent, {})


def test_tests_say_the_law_they_check() -> None:
    """Every test has a docstring."""
    silent = [
        name
        for path in python_files("tests")
        if path.name.startswith("test_")
        for name, function in functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    judge(silent, {})


def test_only_the_command_line_prints() -> None:
    """No module outside streams/cli calls print: the others log events or return values."""
    printing = {
        name_of(path)
        for path in python_files("streams")
        if path.relative_to(ROOT).parts[1] != "cli"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    judge(printing, exceptions.PRINTING_MODULES)


def test_kafka_clients_speak_through_our_log() -> None:
    """Whoever makes one does so by `open_client`; by itself it writes on standard error."""
    by_themselves = {
        name_of(path)
        for path in python_files("streams")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("AdminClient", "Consumer", "Producer")
    }
    judge(by_themselves, exceptions.MAKERS_OF_CLIENTS)


def own_modules() -> dict[str, Path]:
    """Return the package's modules by dotted name, without the packages' own files."""
    files = python_files("streams")
    return {module_of(path): path for path in files if path.name != "__init__.py"}


def test_every_module_is_used() -> None:
    """Every module is imported by another one of the package or by a benchmark: no dead files."""
    users = python_files("streams", "benchmarks")
    dead = [
        name
        for name, path in own_modules().items()
        if not any(name in imports(user) for user in users if user != path)
    ]
    judge(dead, exceptions.UNIMPORTED_MODULES)


def test_every_module_is_reached_by_a_test() -> None:
    """Every module is imported by some test, or by a module that a test reaches."""
    modules = own_modules()
    reached: set[str] = set()
    frontier = modules.keys() & set().union(*map(imports, python_files("tests")))
    while frontier:
        reached |= frontier
        further = set().union(*(imports(modules[name]) for name in frontier))
        frontier = (modules.keys() & further) - reached
    judge(modules.keys() - reached, exceptions.UNTESTED_MODULES)


def _defined(path: Path) -> Iterator[str]:
    """Yield the names that a module defines for others; what a decorator takes in, it uses."""
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not node.decorator_list:
                yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _read(path: Path) -> Iterator[str]:
    """Yield the names that a module reads, of its own or of others."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def test_what_a_module_defines_is_read() -> None:
    """By the engine or its benchmarks: what tests alone read is dead, and its tests keep it so."""
    read = {name for path in python_files("streams", "benchmarks") for name in _read(path)}
    unread = [
        f"{name_of(path)}::{name}"
        for path in python_files("streams")
        for name in _defined(path)
        if name not in read
    ]
    judge(unread, exceptions.UNREAD_NAMES)
