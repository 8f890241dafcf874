"""What a flow run's process has imported before it is needed, and what it does when it is.

The worker (`deployments/worker.py`) keeps one *template* process, Python's own fork server, that calls `preload`
(through `deployments/warm_imports.py`) and then only waits. Each flow run gets a fork of it: a process of its own, as Prefect's process worker gives
it, but one that starts in milliseconds and shares the memory of the imports instead of paying for them again.

So nothing that is imported by a module of `flows` may open a connection, start a thread or read a per-run setting at import.
"""

import gc
import importlib
import logging
import os
import pkgutil
import runpy
import sys
import warnings
from typing import Final

_log = logging.getLogger(__name__)

WARM: Final = 0
_ENGINE: Final = (
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.engine",
    "prefect.deployments.steps.core",
    "prefect.deployments.steps.pull",
    "prefect.filesystems",
    "prefect.artifacts",
    "sqlalchemy",
)


def preload(package: str = "flows") -> None:
    """Import Prefect's engine and every module of `package`.

    A module that cannot be imported is reported and left out: the flow run that needs it then fails with the same
    error in its own log, and the others still start.
    """
    for name in (*_ENGINE, *_modules(package)):
        try:
            importlib.import_module(name)
        except Exception:
            _log.exception("%s cannot be imported ahead of its flow runs", name)
    gc.collect()
    gc.freeze()  # A collection in a fork would write to, and so copy, every page it shares with the template.


def _modules(package: str) -> list[str]:
    try:
        found = importlib.import_module(package)
    except Exception:
        _log.exception("%s cannot be imported ahead of its flow runs", package)
        return []
    return [module.name for module in pkgutil.iter_modules(found.__path__, f"{package}.")]


def run_flow_run(flow_run_id: str, environment: dict[str, str]) -> None:
    """Run one flow run in this process, exactly as `python -m prefect.engine` would, and exit.

    `environment` becomes the whole environment of the process.
    """
    os.environ.clear()
    os.environ.update(environment)
    context = importlib.import_module("prefect.context")
    context.refresh_global_settings_context()
    sys.argv = ["prefect.engine", flow_run_id]
    with warnings.catch_warnings():
        # runpy says that the module is imported already, which is the point.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def check_warm() -> None:
    """The first fork. When it has ended, the template has done its imports; it exits with `WARM` if it has them."""
    sys.exit(WARM if "prefect.flow_engine" in sys.modules else 1)
