"""Ports: taken whole or not at all, and a refusal that says what to do."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streams.errors import ConfigError
from streams.monitoring.sockets import Port, listen, open_connections, program_name, refusal


def at(port: int, address: str = "127.0.0.1") -> Port:
    return Port("collector_http_port", "--http", address, port)


def test_a_port_is_listened_on_and_its_connections_are_counted(unused_port: int) -> None:
    """From then on: nobody else can have it."""
    (one,) = listen(at(unused_port))
    with one, socket.create_connection(("127.0.0.1", unused_port)):
        assert open_connections(unused_port) >= 1
        with pytest.raises(ConfigError, match="is taken"):
            listen(at(unused_port))


def test_a_taken_port_is_named_with_flag_setting_holder_and_fix(unused_port: int) -> None:
    """And is free again when its holder has ended."""
    with socket.create_server(("127.0.0.1", unused_port)), pytest.raises(ConfigError) as caught:
        listen(at(unused_port))
    said = str(caught.value)
    begin = "collector_http_port (SPANLOOM_COLLECTOR_HTTP_PORT, --http): "
    assert said.startswith(f"{begin}127.0.0.1:{unused_port}: is taken: process {os.getpid()} ")
    assert said.endswith("; end that, or take another port with --http")
    for one in listen(at(unused_port)):
        one.close()


LISTENS = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print("listens", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("how", "name"),
    [(["-u", "server.py"], " server.py"), (["-um", "server"], " server"), (["-c", LISTENS], "")],
)
def test_no_secret_of_the_holders_command_line_is_shown(
    unused_port: int, tmp_path: Path, how: list[str], name: str
) -> None:
    """Its program, its script and its id are: whoever ends it needs no more."""
    (tmp_path / "server.py").write_text(LISTENS, encoding="utf-8")
    command = [sys.executable, *how, str(unused_port), "--password", "hunter2"]
    holder = subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "listens\n"
        with pytest.raises(ConfigError) as caught:
            listen(at(unused_port))
        holder.communicate("")
    program = Path(sys.executable).name
    assert f"process {holder.pid} listens there ({program}{name});" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/usr/sbin/nginx", "-g", "secret"], "nginx"),
        (["nginx: master process /usr/sbin/nginx -g secret"], "nginx"),
        (
            ["/usr/bin/python3.11", "-X", "dev", "-Wignore", "/opt/app.py", "secret"],
            "python3.11 app.py",
        ),
        (["python", "-Ic", "secret"], "python"),
        (["python", "-m"], "python"),
        (["python"], "python"),
        (["bash", "-c", "secret"], "bash"),
        (["bash", "/opt/run", "secret"], "bash run"),
        (["java", "-jar", "/opt/broker.jar", "secret"], "java broker.jar"),
        (["java", "-jar"], "java"),
        (["java", "-Dpassword=secret", "Main"], "java"),
        (["node", "--require", "secret"], "node"),
        (["/opt/evil\x1b[2J"], "evil?[2J"),
        ([""], "its name is not known"),
        (["/opt/run/"], "its name is not known"),
    ],
)
def test_a_process_is_named_by_program_and_script(words: list[str], name: str) -> None:
    """Whatever stands behind them; nothing that moves a terminal's cursor."""
    assert program_name(words) == name


def test_a_holder_that_cannot_be_seen_is_found_by_a_command(unused_port: int) -> None:
    """As that of another user, or of another container."""
    said = str(refusal(at(unused_port), OSError(errno.EADDRINUSE, "Address already in use")))
    assert f"ss -ltnp 'sport = :{unused_port}'" in said


def test_a_name_of_several_addresses_is_listened_on_at_each(unused_port: int) -> None:
    """One that is taken gives the others back."""
    for one in listen(at(unused_port, "localhost")):
        with one:
            assert one.getsockname()[1] == unused_port


@pytest.mark.parametrize("address", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_told(unused_port: int, address: str) -> None:
    """The port is not at fault."""
    with pytest.raises(ConfigError, match=r"no address of this machine.*name another address"):
        listen(at(unused_port, address))


def test_a_port_for_root_alone_is_told() -> None:
    """Whoever runs this."""
    said = str(refusal(at(80), OSError(errno.EACCES, "Permission denied")))
    assert said.endswith("below 1024; take another port with --http")
