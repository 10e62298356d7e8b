"""The names of the page's modules, without a browser: none is used that nobody gives.

An import that a merge loses is seen by a browser alone, and only on the page that needs it. Here
each module is read (`es_modules`), and each of its imports is taken away once to prove the reading.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

import pytest

from streams.console.site import FOLDER
from tests.tidy.es_modules import Import, Module

LANGUAGE: Final = frozenset(
    {
        "Array", "Boolean", "Date", "Error", "Infinity", "JSON", "Map", "Math", "Number", "Object",
        "Promise", "Set", "String", "TypeError", "decodeURIComponent", "encodeURIComponent",
        "undefined",
    }
)  # fmt: skip
"""What ECMAScript itself gives a module."""
BROWSER: Final = frozenset(
    {
        "AbortController", "Event", "EventSource", "FormData", "Node", "ResizeObserver", "URL",
        "URLSearchParams", "addEventListener", "clearInterval", "clearTimeout", "console",
        "dispatchEvent", "document", "fetch", "getComputedStyle", "history", "localStorage",
        "location", "matchMedia", "navigator", "removeEventListener", "requestAnimationFrame",
        "scrollTo", "scrollY", "sessionStorage", "setInterval", "setTimeout",
    }
)  # fmt: skip
"""What a browser gives: no more than is used here, for `name`, `open` and `status` are globals too,
and would hide the loss of an import of that name."""
VENDORED: Final = {"vendor/uplot/uPlot.esm.js": r"^export \{ uPlot as (default) \};$"}
"""Of a module that is not ours only what it exports is read."""


read: Final = cache(Module)


@cache
def modules() -> dict[str, str]:
    """Return the text of the page's own modules by their path in its folder."""
    paths = {path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*.js")}
    return {name: text_of(path) for name, path in sorted(paths.items()) if name not in VENDORED}


def text_of(path: Path) -> str:
    """Return a file's text."""
    return path.read_text(encoding="utf-8")


@cache
def exports() -> dict[str, set[str]]:
    """Return what each module exports, vendored ones too."""
    vendored = {
        name: set(re.findall(form, text_of(FOLDER / name), re.MULTILINE))
        for name, form in VENDORED.items()
    }
    return {name: read(text).exports for name, text in modules().items()} | vendored


def path_of(source: str, importer: str) -> str:
    """Return the path of what a module imports as "./x.js" or "../x.js"."""
    parts: list[str] = []
    for part in (PurePosixPath(importer).parent / source).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def wrong(name: str, text: str, given: dict[str, set[str]]) -> Iterator[str]:
    """Yield what is wrong with the names of a module.

    Args:
        name: its path in the page's folder.
        text: the module.
        given: what each module exports.
    """
    module = read(text)
    for use in module.unknown():
        if use.name not in LANGUAGE | BROWSER:
            yield f"{name}:{use.line}: nobody gives {use.name}"
    for one in module.imports:
        source = path_of(one.source, name)
        uses = module.uses_of(one)
        wanted = {use.member for use in uses} if one.name == "*" else {one.name}
        if not uses:
            yield f"{name}:{one.line}: {one.local} is imported for nothing"
        if source not in given:
            yield f"{name}:{one.line}: there is no {source}"
        else:
            for lost in sorted(wanted - given[source]):
                yield f"{name}:{one.line}: {source} does not export {lost or '* as a whole'}"


def test_no_module_of_the_page_uses_a_name_that_nobody_gives() -> None:
    """Each name is the module's own, an import that its source exports, or the browser's."""
    given = exports()
    assert [said for name, text in modules().items() for said in wrong(name, text, given)] == []


def test_no_name_is_granted_that_no_module_uses() -> None:
    """The lists of globals hold no more than the page needs."""
    used = {use.name for text in modules().values() for use in read(text).unknown()}
    assert used == LANGUAGE | BROWSER


def test_each_view_can_be_shown() -> None:
    """The modules that are loaded by the name of a view are there and export `show`."""
    (table,) = re.findall(r"^const FILES = \{(.*?)^\};", modules()["app.js"], re.M | re.S)
    given = exports()
    files = set(re.findall(r': "(\w+)"', table))
    assert files == {Path(name).stem for name in given if name.startswith("views/")}
    assert all("show" in given[f"views/{file}.js"] for file in files)


def without(text: str, one: Import) -> str:
    """Return a module that lacks an import, as a merge would leave it; no line moves."""
    lines = text.split("\n")
    end = next(n for n in range(one.line, len(lines) + 1) if lines[n - 1].endswith(";"))
    others = [
        other.name if other.name == other.local else f"{other.name} as {other.local}"
        for other in read(text).imports
        if other.line == one.line and other != one
    ]
    kept = f'import {{ {", ".join(others)} }} from "{one.source}";' if others else ""
    lines[one.line - 1 : end] = [kept, *[""] * (end - one.line)]
    return "\n".join(lines)


@pytest.mark.parametrize("name", modules())
def test_an_import_that_is_lost_is_missed(name: str) -> None:
    """Without any one of its imports a module is refused, for the name that it lost."""
    text, given = modules()[name], exports()
    for one in read(text).imports:
        said = {line.partition(": ")[2] for line in wrong(name, without(text, one), given)}
        assert said == {f"nobody gives {one.local}"}


def test_an_import_of_what_is_not_exported_is_refused() -> None:
    """A name that its module does not export, one of a namespace too, a lost file, an idle one."""
    text = """import * as live from "../live.js";
import { h, gone, idle as spare } from "../dom.js";
import { x } from "./nowhere.js";
h(gone, x, live.last, live.lost);
"""
    given = {"live.js": {"last"}, "dom.js": {"h", "idle"}}
    assert sorted(wrong("views/now.js", text, given)) == [
        "views/now.js:1: live.js does not export lost",
        "views/now.js:2: dom.js does not export gone",
        "views/now.js:2: spare is imported for nothing",
        "views/now.js:3: there is no views/nowhere.js",
    ]


BODIES: Final = {
    "h": [
        "h;", "(h) => 1; h();", "{ const h = 1; } h;", "const { h: x, y = h } = {};",
        "({ h });", "for (const h of []) if (h) h.a; else h.b; h;", "`${`${{ a: [h] }.a}`}`;",
        "a => h / 2;", "try {} catch (h) { h; } h;", "class A { m(x = h) {} }",
        "let x = 1 ? h : 2;", "({ [h]: 1 })", "function f({ b: { c: [h] } }) { h; } h();",
        "x.y?.[h];", "export const f = (...p) => h(p);",
    ],
    "": [
        "x.h; x?.h;", "({ h: 1 });", "const h = 1; h;", "let a, h; h;",
        "'h'; \"h\"; `h ${1} h`;", "/h[/]h/.test(1); // h", "(h) => h;", "({ h }) => h;",
        "({ a: h = 2, ...r }) => h;", "h => h * 2;", "async (h) => { await h; };",
        "class A { h() {} static h(x) {} }", "function h() { h(); }",
        "for (const [h, i] of []) if (h) h; else i.a(h);", "({ h() {} });",
        "for (let h = 0; h < 2; h++) h;", "try {} catch (h) { h; }", "/* h */ class h {}",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("lost", "body"), [(name, b) for name, all_ in BODIES.items() for b in all_]
)
def test_names_are_looked_up_where_they_hold(lost: str, body: str) -> None:
    """`h` is a use or not, and bound or not, as ECMAScript has it."""
    assert {use.name for use in Module(body).unknown()} & {"h"} == {lost} - {""}


@pytest.mark.parametrize("body", ["var h;", "with (h) x;", "f(]);", "`${", "'h", "{"])
def test_what_is_not_read_is_refused(body: str) -> None:
    """Nothing is passed over: an unread construct ends the check."""
    with pytest.raises(AssertionError):
        Module(body)
