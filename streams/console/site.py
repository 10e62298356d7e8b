"""The page's files: read once, served from memory under the names that they had.

Owns types, compression and caching of them. A request names one of the files that were there at the
start or nothing at all: no path of a request ever reaches the disk.
"""

import functools
import gzip
import hashlib
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

FOLDER: Final = Path(__file__).with_name("page")
INDEX: Final = "index.html"
VIEWS: Final = ("now", "traces", "fidelity", "incidents", "records", "rejected", "catalog")
"""First words of the addresses that the page itself makes sense of."""
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
"""Nothing from elsewhere, and nothing written into the document: not even by a hole in it."""


class Asset(NamedTuple):
    """A file: its bytes, the same compressed, its type, and a tag that changes with its bytes."""

    plain: bytes
    packed: bytes
    type: str
    tag: str


def assets(folder: Path = FOLDER) -> dict[str, Asset]:
    """Return the files below a folder by their path in it; those of other types are left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES and path.is_file():
            plain = path.read_bytes()
            tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
            packed = gzip.compress(plain, 9, mtime=0)
            name = path.relative_to(folder).as_posix()
            found[name] = Asset(plain, packed, TYPES[path.suffix], tag)
    return found


def _answer(asset: Asset, request: Request, status: int = 200) -> Response:
    headers = {
        "ETag": asset.tag,
        # Asked anew each time, and answered with 304: an upgrade is seen at the next look.
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if asset.type.startswith("text/html"):
        headers["Content-Security-Policy"] = POLICY
    if status == 200 and asset.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    body = asset.plain
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = asset.packed
        headers["Content-Encoding"] = "gzip"
    return Response(body, status, headers=headers, media_type=asset.type)


@functools.cache
def _files(folder: Path) -> dict[str, Asset]:
    return assets(folder)


def absent(request: Request) -> Response:
    """Return the page for an address that it has no view for: it says so, and leads back."""
    return _answer(_files(FOLDER)[INDEX], request, 404)


def routes(folder: Path = FOLDER) -> list[Route]:
    """Return what serves the page: each view's address, and the files below /assets."""
    files = _files(folder)

    async def view(request: Request) -> Response:
        return _answer(files[INDEX], request)

    async def file(request: Request) -> Response:
        asset = files.get(request.path_params["name"])
        if asset is None:
            return PlainTextResponse("no such file", 404)
        return _answer(asset, request)

    pages = ["/", *(f"/{name}" for name in VIEWS), *(f"/{name}/{{rest:path}}" for name in VIEWS)]
    return [Route("/assets/{name:path}", file), *(Route(path, view) for path in pages)]
