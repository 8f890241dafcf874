"""A private Redis in a temporary folder, on a socket file there: nobody else reaches it, and no port is taken.

Where there is none, the system's package manager installs one, in a way that starts no service.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.peer_work import PeerMissing

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 10.0
# Debian's package of tools has the server's program under this name (which of both it is, it reads from its own name),
# while the package of the server would start one.
_NAMES: Final = ("redis-server", "valkey-server", "redis-check-rdb")
_PACKAGES: Final = {
    "apt-get": ("install", "-y", "-qq", "--no-install-recommends", "redis-tools"),
    "dnf": ("install", "-y", "-q", "valkey"),
    "apk": ("add", "-q", "redis"),
    "brew": ("install", "-q", "redis"),
}


@contextmanager
def redis_server() -> Iterator[Path]:
    """The socket of a Redis that exists for the block and keeps nothing.

    Raises:
        PeerMissing: there is none to be had.
    """
    binary = _which_server() or _installed_server()
    if binary is None:
        raise PeerMissing("no redis-server was found, and none could be installed")
    folder = Path(tempfile.mkdtemp(prefix="ics-redis-"))
    path = folder / "redis.sock"
    process: subprocess.Popen[bytes] | None = None
    try:
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                ["redis-server", *_options(path)],
                executable=binary,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        _wait_until_it_answers(process, path)
        yield path
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _options(path: Path) -> list[str]:
    keep_nothing = ["--save", "", "--appendonly", "no"]
    return ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", *keep_nothing]


def _wait_until_it_answers(process: subprocess.Popen[bytes], path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(path):
        if process.poll() is not None or time.monotonic() > deadline:
            lines = (path.parent / "log").read_text(errors="replace").splitlines()[-5:]
            raise PeerMissing("redis-server did not start: " + " ".join(lines)[-500:])
        time.sleep(0.05)


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _which_server() -> str | None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"
    return next((found for name in _NAMES if (found := shutil.which(name, path=path))), None)


def _installed_server() -> str | None:
    manager = next((name for name in _PACKAGES if shutil.which(name)), None)
    if manager is None:
        return None
    print(f"no redis-server here: installing one with {manager}", flush=True)
    prefix = [] if os.getuid() == 0 or manager == "brew" else ["sudo"]
    if prefix and not sys.stdin.isatty():
        prefix.append("--non-interactive")
    steps = [_PACKAGES[manager]]
    if manager == "apt-get":
        steps.insert(0, ("update", "-qq"))
        prefix += ["env", "DEBIAN_FRONTEND=noninteractive"]
    try:
        for step in steps:
            subprocess.run([*prefix, manager, *step], check=False, stdout=subprocess.DEVNULL)
    except FileNotFoundError:  # no sudo here
        return None
    return _which_server()
