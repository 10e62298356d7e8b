"""The page's files: right types, tags that spare a transfer, and nothing beside them."""

import asyncio
import gzip
import hashlib
import re
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from streams.console.site import FOLDER, TYPES, VIEWS, assets, routes

APP = Starlette(routes=routes())
VENDORED = FOLDER / "vendor" / "uplot"
INLINE = re.compile(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", re.IGNORECASE)


def get(path: str, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=APP)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize("name", sorted(assets()))
def test_each_file_is_served_as_it_is(name: str) -> None:
    """Type and bytes are the file's, compressed or not."""
    plain = get(f"/assets/{name}", **{"accept-encoding": "identity"})
    assert (plain.status_code, plain.content) == (200, (FOLDER / name).read_bytes())
    assert plain.headers["content-type"] == TYPES[Path(name).suffix]
    assert plain.headers["x-content-type-options"] == "nosniff"
    packed = get(f"/assets/{name}", **{"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content  # the client unpacks
    assert "Accept-Encoding" in packed.headers["vary"]


def test_no_file_of_the_page_is_left_behind() -> None:
    """Each file in the folder has a type by which it is served."""
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert there == set(assets())
    assert {"index.html", "app.js", "style.css", "vendor/uplot/LICENSE.txt"} <= there


def test_what_a_browser_has_is_not_sent_again() -> None:
    """The tag of a file answers 304 without a body; another tag does not."""
    tag = get("/assets/app.js").headers["etag"]
    again = get("/assets/app.js", **{"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert get("/assets/app.js", **{"if-none-match": '"other"'}).status_code == 200
    assert get("/assets/style.css").headers["etag"] != tag


@pytest.mark.parametrize(
    "path", ["/", *(f"/{name}" for name in VIEWS), "/traces/ab", "/records/a/b"]
)
def test_each_view_is_the_page(path: str) -> None:
    """An address of a view gives the document, which allows nothing that is not a file of ours."""
    found = get(path)
    assert found.status_code == 200
    assert found.headers["content-type"].startswith("text/html")
    assert found.headers["content-security-policy"].startswith("default-src 'self'")


@pytest.mark.parametrize(
    "path",
    [
        "../site.py",
        "%2e%2e/site.py",
        "..%2fsite.py",
        "vendor/../../site.py",
        "/etc/passwd",
        "",
        "views",
    ],
)
def test_nothing_beside_the_files_is_served(path: str) -> None:
    """No path leads out of the folder."""
    assert get(f"/assets/{path}").status_code == 404


def test_the_documents_hold_no_script_and_no_style() -> None:
    """Else the policy would have to allow them everywhere."""
    for path in FOLDER.rglob("*.html"):
        assert not INLINE.search(path.read_text("utf-8")), path.name


def test_no_script_parses_text_as_html() -> None:
    """What came from telemetry reaches the document as text alone."""
    ways = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    )
    own = [path for path in FOLDER.rglob("*.js") if VENDORED not in path.parents]
    assert len(own) > 15
    assert [path.name for path in own if ways.search(path.read_text("utf-8"))] == []


def test_what_others_wrote_is_what_was_taken_in() -> None:
    """The vendored files have the digests that were written down, and their licence is there."""
    written = (VENDORED / "SHA256SUMS.txt").read_text("utf-8").split()
    digests = dict(zip(written[1::2], written[::2], strict=True))
    there = {path.name for path in VENDORED.iterdir()} - {"SHA256SUMS.txt"}
    assert set(digests) == there
    for name, digest in digests.items():
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == digest, name
    assert "MIT" in (VENDORED / "LICENSE.txt").read_text("utf-8")


def test_compressed_files_are_the_same_each_time() -> None:
    """No time of day in them: two consoles serve equal bytes."""
    one = assets()["app.js"]
    assert gzip.decompress(one.packed) == one.plain
    assert assets()["app.js"].packed == one.packed
