"""What uvicorn writes into the log."""

import logging

import pytest

from deployments.api_server import without_sockets


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    caplog.set_level(logging.INFO)
    logger = logging.getLogger("test_api_server")
    logger.filters.clear()
    logger.addFilter(without_sockets)
    return logger


def test_addresses_of_sockets_are_not_logged_since_tickets_are_in_them(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    for line in ('%s - "WebSocket %s" [accepted]', '%s - "WebSocket %s" 403', '%s - "WebSocket %s" %d'):
        log.info(line, *("127.0.0.1", "/live?ticket=secret", 500)[: line.count("%")])
    assert caplog.messages == []


def test_everything_else_is(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    log.info("Started server process [%d]", 7)
    log.error("Exception in ASGI application\n")
    assert len(caplog.messages) == 2
