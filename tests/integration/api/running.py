"""The API as a server on a socket: streams and WebSockets need one."""

import socket
import threading
import time
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy import update

from db.engine import Database
from db.models import Stats
from db.queries import tokens
from deployments.api_server import Server
from tasks.live.hub import Hub
from tests.builders import add_campaign, prepared

PATIENCE = 10.0


class RunningApi:
    """A running API, a token, and an execution of three messages to listen to."""

    def __init__(self, app: FastAPI, database: Database) -> None:
        self.app = app
        self.database = database
        self.token, token = database.run(lambda s: tokens.create_token(s, "listener"))
        self.token_id = token.id
        self.execution_id = database.run(lambda s: prepared(s, add_campaign(s, clients=3))).id
        self.port = 0
        self.server: Server
        self.thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def events_url(self) -> str:
        return f"{self.url}/api/flow-executions/{self.execution_id}/events"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/flow-executions/{self.execution_id}/live"

    @property
    def hub(self) -> Hub:
        hub: Hub = self.app.state.hub
        return hub

    def set_accepted(self, number: int) -> None:
        def work(session: Any) -> None:
            mine = update(Stats).where(Stats.execution_id == self.execution_id)
            session.execute(mine.values(accepted=number))

        self.database.run(work)

    def start(self) -> None:
        """On a free port the first time, and on the same one after that."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self.server = Server(uvicorn.Config(self.app, log_level="warning", timeout_graceful_shutdown=5))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + PATIENCE
        while not self.server.started:
            assert self.thread.is_alive()
            assert time.monotonic() < deadline, "the API takes too long to start"
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(PATIENCE)
