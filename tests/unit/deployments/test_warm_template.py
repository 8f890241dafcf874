"""What the template imports, seen from a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from deployments.deploy import PROJECT


def run(code: str, *, path: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(path), str(PROJECT)]),
        "PREFECT_HOME": str(path),
    }
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=path, check=False
    )


def test_the_template_has_no_thread_that_a_fork_would_lose(tmp_path: Path) -> None:
    code = (
        "from deployments.warm_template import preload, check_warm; import threading; preload()\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "check_warm()"
    )
    done = run(code, path=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_module_that_cannot_be_imported_is_reported_and_the_others_are_imported(tmp_path: Path) -> None:
    package = tmp_path / "samples"
    package.mkdir()
    for name, code in (("__init__", ""), ("broken", "raise ValueError('no')"), ("sound", "")):
        (package / f"{name}.py").write_text(code)
    code = (
        "import sys; from deployments.warm_template import preload; preload('samples')\n"
        "assert 'samples.sound' in sys.modules"
    )
    done = run(code, path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "samples.broken cannot be imported" in done.stderr


def test_an_unwarmed_template_says_so(tmp_path: Path) -> None:
    assert (
        run("from deployments.warm_template import check_warm; check_warm()", path=tmp_path).returncode == 1
    )
