"""What /proc says of a tree of processes is what it has."""

import os
import subprocess
import sys
import threading

from benchmarks.cases.proc import cpu_model, stat, tree, usage


def test_a_tree_has_the_children_of_children() -> None:
    """A grandchild is counted with its memory and files; a stranger is not."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        try:
            found = {}
            for _ in range(600):
                found = tree([child.pid])
                if len(found) == 2:
                    break
                threading.Event().wait(0.05)
            assert len(found) == 2
            assert child.pid in found
            assert os.getpid() not in found
            used = usage([child.pid])
            assert used.rss_peak_bytes >= used.rss_bytes > 5_000_000
            assert used.threads >= 2
            assert used.files >= 6
        finally:
            assert child.stdin is not None
            child.stdin.write(b"\n")
    assert stat(child.pid) is None
    assert cpu_model()
