"""Ports of this machine: taking them, saying why one cannot be taken, and what the kernel counts.

Invariants: whoever cannot have a port is told which setting names it, who has it as far as can be
seen, and what to change. Of the other one's command line only names of programs are shown: its
arguments may hold a secret.
"""

import errno
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from streams.errors import ConfigError

_TABLES: Final = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_ESTABLISHED, _LISTENING = "01", "0A"
_WAITING_MAX: Final = 2_048
"""Connections that wait to be accepted, as uvicorn has it."""
_NAME_CHARACTERS: Final = 80
_PYTHON: Final = re.compile(r"(python|pypy)[0-9.]*")
_PYTHON_FLAGS: Final = re.compile(r"-[bBdEiIOPqRsSuvx]+")
"""Options of Python that take no value. Source: `python --help`."""
_INTERPRETERS: Final = frozenset(
    {"node", "ruby", "perl", "php", "java", "sh", "bash", "dash", "zsh", "ksh"}
)


class Port(NamedTuple):
    """A port that is to be listened on.

    Attributes:
        setting: its name, without `SPANLOOM_`.
        flag: of the command line.
        address: of this machine.
        number: of the port.
    """

    setting: str
    flag: str
    address: str
    number: int


def listen(port: Port) -> list[socket.socket]:
    """Return sockets that listen on a port: one for each address that the name stands for.

    Raises:
        ConfigError: it cannot be listened on.
    """
    return _bound(port, _WAITING_MAX)


def places(port: Port) -> list[str]:
    """Return what a port stands for, each HOST:PORT with a numeric host, when all are free now.

    For servers that bind by themselves, which may find one taken all the same. Looking disturbs
    nobody: a socket that is bound and does not listen keeps no other from listening, as long as
    both allow addresses to be reused, which servers do.

    Raises:
        ConfigError: it cannot be listened on.
    """
    found = []
    for one in _bound(port, 0):
        with one:
            host, number = one.getsockname()[:2]
            found.append(
                f"[{host}]:{number}" if one.family == socket.AF_INET6 else f"{host}:{number}"
            )
    return found


def _bound(port: Port, waiting_max: int) -> list[socket.socket]:
    """Return a socket for each address of a port; they listen where anybody may wait."""
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            port.address, port.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = socket.socket(family, kind, protocol)
            made.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            if waiting_max:
                one.listen(waiting_max)
    except OSError as error:
        for one in made:
            one.close()
        raise refusal(port, error) from error
    return made


def refusal(port: Port, error: OSError) -> ConfigError:
    """Return what is said of a port that cannot be listened on."""
    said, fix = error.strerror or str(error), f"take another port with {port.flag}"
    if error.errno == errno.EADDRINUSE:
        said, fix = f"is taken: {_holder(port.number)}", f"end that, or {fix}"
    elif error.errno == errno.EACCES:
        said = "this user may not listen there, as on most machines below 1024"
    elif error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        said, fix = f"no address of this machine ({said})", "name another address"
    name = f"{port.setting} (SPANLOOM_{port.setting.upper()}, {port.flag})"
    return ConfigError(f"{name}: {port.address}:{port.number}: {said}; {fix}")


def _holder(port: int) -> str:
    """Say who listens on a port, as far as this user may see."""
    inodes = {words[9] for words in _connections(port) if words[3] == _LISTENING}
    links = {f"socket:[{inode}]" for inode in inodes}
    for files in Path("/proc").glob("[0-9]*/fd") if links else ():
        try:
            if any(os.readlink(files / name) in links for name in os.listdir(files)):
                command = (files.parent / "cmdline").read_bytes().decode(errors="replace")
                name = program_name(command.rstrip("\0").split("\0"))
                return f"process {files.parent.name} listens there ({name})"
        except OSError:  # it is somebody else's, or over
            continue
    return f"another program listens there (as root, `ss -ltnp 'sport = :{port}'` says which)"


def program_name(words: Sequence[str]) -> str:
    """Return what a process may be called by: its program, behind an interpreter the script too.

    Never an argument, which may hold a secret, nor code (`-c`). What cannot be told apart from the
    value of an option is left out.

    Args:
        words: its command line; the first may be a title that the process gave itself.
    """
    program = _base(words[0].split(maxsplit=1)[0].rstrip(":") if words[0].strip() else "")
    script = ""
    if _PYTHON.fullmatch(program):
        script = _python_script(words[1:])
    elif program in _INTERPRETERS and len(words) > 1:
        script = (
            words[2] if program == "java" and words[1:2] == ["-jar"] and words[2:] else words[1]
        )
    shown = f"{program} {_base(script)}" if script and not script.startswith("-") else program
    return shown or "its name is not known"


def _python_script(words: Sequence[str]) -> str:
    """Return the script or module that Python was started with; "" where it is none of both."""
    at = 0
    while at < len(words):
        word = words[at]
        if word in {"-X", "-W"}:
            at += 2
        elif word.startswith(("-X", "-W")) or _PYTHON_FLAGS.fullmatch(word):
            at += 1
        elif word.endswith("m") and (word == "-m" or _PYTHON_FLAGS.fullmatch(word[:-1])):
            return words[at + 1] if at + 1 < len(words) else ""
        else:
            return word
    return ""


def _base(path: str) -> str:
    """Return the last part of a path, fit for a terminal."""
    name = path.rpartition("/")[2][:_NAME_CHARACTERS]
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def open_connections(port: int) -> int:
    """Return how many connections of TCP end at a port of this machine; 0 without Linux's tables.

    For servers that do not tell.
    """
    return sum(words[3] == _ESTABLISHED for words in _connections(port))


def _connections(port: int) -> Iterator[list[str]]:
    """Yield the words that the kernel says of each socket at a port.

    Source: Linux, Documentation/networking/proc_net_tcp.rst: the second word of a line is the local
    address, its port in hex behind the colon; the fourth is the state, the tenth the inode.
    """
    wanted = f":{port:04X}"
    for table in _TABLES:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        yield from (words for words in map(str.split, lines) if words[1].endswith(wanted))
