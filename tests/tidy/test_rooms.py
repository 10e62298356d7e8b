"""The map of the large rooms is whole: who is new finds every module there, and no other."""

import re
from collections.abc import Iterator

from tests.tidy.repository import ROOT

LARGE = 25
WITHOUT_MAP = {"cli"}  # a command's module has its name


def rooms() -> Iterator[tuple[str, list[str]]]:
    """Yield every room of the package, and its modules by name."""
    for opening in (ROOT / "streams").rglob("__init__.py"):
        modules = sorted(path.stem for path in opening.parent.glob("*.py") if path != opening)
        yield opening.parent.relative_to(ROOT / "streams").as_posix(), modules


def maps() -> dict[str, list[str]]:
    """Return the modules that the page maps, by room."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| `([\w/]+)/` \| Modules \|\n((?:\|.*\n)+)", page, re.MULTILINE)
    return {room: sorted(re.findall(r"`(\w+)`", table)) for room, table in tables}


def test_large_rooms_have_a_map_that_names_each_module_once() -> None:
    """A room of more than 25 modules is mapped in docs/architecture.md, as it is today."""
    mapped = maps()
    large = {name for name, modules in rooms() if len(modules) > LARGE} - WITHOUT_MAP
    assert large == set(mapped)
    assert mapped == {name: modules for name, modules in rooms() if name in large}
