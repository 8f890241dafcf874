"""A real database server for tests: `python -m deployments.test_database -- COMMAND`.

With `ICS_TEST_DATABASE_URL` set the command simply runs. Else a private `mariadbd` or `mysqld` is started in a temporary
folder (installed by the system's package manager where there is none), and is gone again at the end, however it comes.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import pymysql

VARIABLE: Final = "ICS_TEST_DATABASE_URL"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
# What is committed survives kill -9 of the server, which tests do, but not a power cut, which they do not.
_QUICK: Final = ("--innodb-buffer-pool-size=512M", "--innodb-flush-log-at-trx-commit=2")
# For figures: each commit is flushed to the disk, as a server does by default, with memory as for a million clients.
_DURABLE: Final = (
    "--innodb-buffer-pool-size=2G",
    "--innodb-log-file-size=512M",
    "--innodb-flush-log-at-trx-commit=1",
)
_MANAGER_SECONDS: Final = 300.0
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
_BROWSER_PACKAGES: Final = {
    "apt-get": ("install", "-y", "-qq", "--no-install-recommends", "chromium"),
    "dnf": ("install", "-y", "-q", "chromium"),
    "apk": ("add", "-q", "chromium"),
}
_SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/usr/libexec:/opt/homebrew/bin"
# Packages that bring a server. On Debian the core packages have the programs and start no service.
_PACKAGES: Final = {
    "apt-get": (
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        "mariadb-server-core",
        "mariadb-client-core",
    ),
    "dnf": ("install", "-y", "-q", "mariadb-server"),
    "apk": ("add", "-q", "mariadb", "mariadb-client"),
    "brew": ("install", "-q", "mariadb"),
}


class NoServer(RuntimeError):
    """No database server could be found, installed or started; the message says what to do."""


@dataclass
class Server:
    """A private server on 127.0.0.1. Its data stay where they are through `kill`, `stop` and `start`."""

    binary: str
    folder: Path
    port: int
    password: str = field(repr=False)
    durable: bool = False
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of the database `ics`, for a user who may do everything on this server."""
        return f"mysql+pymysql://ics:{self.password}@127.0.0.1:{self.port}/ics?charset=utf8mb4"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None or self._process.poll() is not None:
            raise NoServer("the server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers.

        Raises:
            NoServer: it ended at its start, or did not answer within `START_SECONDS`.
        """
        with (self.folder / "log").open("ab") as log:
            # A process group of its own: Ctrl-C ends the command first and the server after it.
            self._process = subprocess.Popen(
                [self.binary, "--no-defaults", *self._options(), *_user()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        self._wait_until_it_answers(self._process)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Shut it down in order, or kill it if that takes longer than `STOP_SECONDS`."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self) -> None:
        """Shut down and start again on the same port and data."""
        self.stop()
        self.start()

    def _options(self) -> list[str]:
        return [
            f"--datadir={self.folder / 'data'}",
            f"--init-file={self.folder / 'init.sql'}",
            f"--socket={self.folder / 's.sock'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            # Without this MySQL opens one more port, 33060; MariaDB does not know the option.
            "--loose-mysqlx=OFF",
            # The folder that was compiled in may not exist.
            f"--secure-file-priv={self.folder}",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--character-set-server=utf8mb4",
            "--max-connections=300",
            "--performance-schema=OFF",
            *(_DURABLE if self.durable else _QUICK),
        ]

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if process.poll() is not None:
                raise NoServer(f"{self.binary} ended at its start:\n{self._last_lines()}")
            if time.monotonic() > deadline:
                raise NoServer(f"{self.binary} does not answer:\n{self._last_lines()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            pymysql.connect(
                host="127.0.0.1", port=self.port, user="ics", password=self.password, database="ics"
            ).close()
        except pymysql.MySQLError:
            return False
        return True

    def _last_lines(self) -> str:
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-15:])


@contextmanager
def throwaway_server(*, durable: bool = False) -> Iterator[Server]:
    """A server that exists for the block, with an empty database `ics`.

    Raises:
        NoServer: there is none to be had.
    """
    binary = find_server()
    folder = Path(tempfile.mkdtemp(prefix="ics-test-db-"))
    server = Server(binary, folder, _free_port(), password=secrets.token_hex(16), durable=durable)
    try:
        _make_data(server)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def find_server() -> str:
    """The path of `mariadbd` or `mysqld`; installs one if need be.

    Raises:
        NoServer: there is none, and none could be installed.
    """
    found = _which_server()
    if found is None:
        _install()
        found = _which_server()
    if found is None:
        raise NoServer(
            "neither mariadbd nor mysqld was found, and none could be installed. Install MariaDB's server, or set "
            f"{VARIABLE}=mysql+pymysql://user:password@host:3306/database?charset=utf8mb4 (docs/mysql.md)"
        )
    return found


def main(argv: Sequence[str]) -> int:
    """Run the command with `ICS_TEST_DATABASE_URL` set; returns its exit code."""
    durable = argv[:1] == ["--durable"]
    rest = argv[1:] if durable else argv
    command = list(rest[1:] if rest[:1] == ["--"] else rest)
    if not command:
        print("usage: python -m deployments.test_database [--durable] -- COMMAND", file=sys.stderr)
        return 2
    if not durable:
        _install_browser()
    if os.environ.get(VARIABLE):
        print(f"tests use the database of {VARIABLE}", flush=True)
        return subprocess.run(command, check=False).returncode
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        with throwaway_server(durable=durable) as server:
            print(f"tests use a private {Path(server.binary).name} on port {server.port}", flush=True)
            return _run(command, os.environ | {VARIABLE: server.url})
    except NoServer as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _install_browser() -> None:
    """Chromium, in which tests look at pages; without it they are left out, with the reason."""
    if any(map(shutil.which, BROWSERS)):
        return
    manager = next((name for name in _BROWSER_PACKAGES if shutil.which(name)), None)
    if manager is None:
        return
    print(f"no chromium here: installing it with {manager}", flush=True)
    _run_manager(manager, _BROWSER_PACKAGES[manager])


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """On a signal: clean up, undisturbed by further ones."""
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    process = subprocess.Popen(command, env=environment)
    try:
        return process.wait()
    except SystemExit as leaving:
        # A terminal has sent Ctrl-C to the command as well, which may have something to say before it ends.
        if leaving.code != 128 + signal.SIGINT:
            process.terminate()
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    for insist in (process.terminate, process.kill):
        try:
            process.wait(STOP_SECONDS / 2)
            return
        except subprocess.TimeoutExpired:
            insist()
    process.wait()


def _which_server() -> str | None:
    return shutil.which("mariadbd", path=_SYSTEM_PATH) or shutil.which("mysqld", path=_SYSTEM_PATH)


def _install() -> None:
    manager = next((name for name in _PACKAGES if shutil.which(name)), None)
    if manager is None:
        return
    print(f"no mariadbd or mysqld here: installing one with {manager}", flush=True)
    _run_manager(manager, _PACKAGES[manager])


def _run_manager(manager: str, packages: tuple[str, ...]) -> None:
    prefix = [] if os.getuid() == 0 or manager == "brew" else ["sudo"]
    if prefix and not sys.stdin.isatty():
        prefix.append("--non-interactive")
    steps = [packages]
    if manager == "apt-get":
        steps.insert(0, ("update", "-qq"))
        prefix += ["env", "DEBIAN_FRONTEND=noninteractive"]
    try:
        for step in steps:
            subprocess.run(
                [*prefix, manager, *step], check=False, stdout=subprocess.DEVNULL, timeout=_MANAGER_SECONDS
            )
    except subprocess.TimeoutExpired:
        print(f"{manager} takes too long", file=sys.stderr)
    except FileNotFoundError:  # no sudo here: `find_server` says what to do
        return


def _make_data(server: Server) -> None:
    """Fill the data folder, and write what the server runs at each start: the user and the database of the tests."""
    (server.folder / "init.sql").write_text(
        f"CREATE USER IF NOT EXISTS ics@'127.0.0.1' IDENTIFIED BY '{server.password}';\n"
        "GRANT ALL ON *.* TO ics@'127.0.0.1' WITH GRANT OPTION;\n"
        "CREATE DATABASE IF NOT EXISTS ics CHARACTER SET utf8mb4;\n"
    )
    data = f"--datadir={server.folder / 'data'}"
    if _is_mariadb(server.binary):
        script = shutil.which("mariadb-install-db", path=_SYSTEM_PATH)
        if script is None:
            raise NoServer(
                "mariadbd is here but mariadb-install-db is not: install MariaDB's server packages"
            )
        # Were it told `--user`, the script would change the owner of the PAM plugin of the whole system; so only the
        # server that it starts is told.
        user = [option.replace("--user", "--loose-user") for option in _user()]
        command = [script, "--no-defaults", data, "--skip-test-db", *user]
    else:
        command = [server.binary, "--no-defaults", "--initialize-insecure", data, *_user()]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise NoServer(
            f"{command[0]} failed:\n{(done.stdout + done.stderr).decode(errors='replace')[-2000:]}"
        )


def _is_mariadb(binary: str) -> bool:
    version = subprocess.run([binary, "--no-defaults", "--version"], capture_output=True, check=False)
    return b"MariaDB" in version.stdout


def _user() -> list[str]:
    """Servers refuse to run as root unless they are told to; anyone else runs them as themselves."""
    return ["--user=root"] if os.getuid() == 0 else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
