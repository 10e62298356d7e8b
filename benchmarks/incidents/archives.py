"""Reads the files of a recording, from a folder or from an archive beside it, without unpacking."""

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from streams.errors import ConfigError

MEMBER_BYTES_MAX = 256 * 1024 * 1024


def members(folder: Path, stem: str) -> Iterator[tuple[str, bytes]]:
    """Return (path within, content) of all files of `stem`, sorted by path; none when absent.

    Hidden files are left out: archives that were packed on a desktop have one beside each file.

    `stem` is a folder `stem/` or an archive `stem.tar.xz` (or .tar.gz, .tar) in `folder`.
    """
    inside = folder / stem
    if inside.is_dir():
        paths = sorted(p for p in inside.rglob("*") if p.is_file() and p.name[0] != ".")
        yield from ((str(p.relative_to(inside)), p.read_bytes()) for p in paths)
        return
    for suffix in (".tar.xz", ".tar.gz", ".tar"):
        archive = folder / f"{stem}{suffix}"
        if archive.is_file():
            yield from sorted(_archived(archive))
            return


def _archived(archive: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(archive, "r|*") as members_:
            for member in members_:
                if not member.isreg() or PurePosixPath(member.name).name.startswith("."):
                    continue
                if member.size > MEMBER_BYTES_MAX:
                    raise ConfigError(f"{archive}:{member.name}: larger than this reader accepts")
                file = members_.extractfile(member)
                assert file is not None, member.name  # a regular file always opens
                yield member.name.removeprefix("./"), file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ConfigError(f"{archive}: not a readable archive ({error})") from error
