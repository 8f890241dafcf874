"""How well three worker processes keep to one rate: the most in any second, and how much of the rate is used."""

import multiprocessing
import threading
from bisect import bisect_right
from collections.abc import Sequence

import httpx
from pydantic import SecretStr

from benchmarks.measured import Row
from benchmarks.workload import open_execution
from db.engine import Database, make_engine
from db.queries import rate_limits
from db.states import Channel
from settings import Settings, get_settings
from tasks.sending.email import EmailSender
from tasks.sending.engine import SendEngine
from tasks.sending.factory import make_sendgrid, make_sendmode
from tasks.sending.sms import SmsSender

WORKERS = 3
LANES = 2
SECONDS = 10
BATCH = 50
RATES = {Channel.EMAIL: 500, Channel.SMS: 200}


def keep_to_rate(database_url: str, sink: str, channel: Channel, flow_id: int) -> Row:
    """Send for about ten seconds at the rate; `flow_id` has at least so many recipients."""
    rate = RATES[channel]
    database = Database(make_engine(database_url))
    name = rate_limits.PROVIDERS[channel]
    database.run(
        lambda s: rate_limits.upsert_rate_limit(s, name, requests_per_second=None, messages_per_second=rate)
    )
    execution_id = database.run(lambda s: open_execution(s, flow_id, BATCH))
    httpx.get(sink, trust_env=False)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(database_url, sink, execution_id)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    database.run(lambda s: rate_limits.delete_rate_limit(s, name))
    database.engine.dispose()
    moments = sorted(httpx.get(f"{sink}/times", trust_env=False).json())
    if len(moments) < 2:
        raise SystemExit(f"nothing was sent at the rate of {rate}/s")
    per_request = BATCH if channel is Channel.EMAIL else 1
    messages = len(moments) * per_request
    # The last request stands for the time up to the one that would have followed it.
    seconds = moments[-1] - moments[0] + per_request / rate
    return Row(
        f"limit of {rate} {channel}/s, {WORKERS} processes",
        messages,
        seconds,
        {
            "rate": rate,
            "most_in_a_second": most_within(moments, 1.0) * per_request,
            "burst": per_request if channel is Channel.EMAIL else get_settings().sms_concurrency,
            "used": round(messages / seconds / rate, 3),
        },
    )


def most_within(moments: Sequence[float], seconds: float) -> int:
    """The most moments in any stretch of so many seconds; `moments` in order."""
    return max(bisect_right(moments, moment + seconds) - at for at, moment in enumerate(moments))


def _work(database_url: str, sink: str, execution_id: int) -> None:
    """One worker process, as a flow run's process makes its engine."""
    key = SecretStr("bench")
    settings: Settings = get_settings().model_copy(
        update={
            **dict.fromkeys(("sendgrid_base_url", "sendmode_base_url"), sink),
            **dict.fromkeys(("sendgrid_api_key", "sendmode_api_key"), key),
        }
    )
    database = Database(make_engine(database_url))
    engine = SendEngine(
        database,
        settings,
        {
            Channel.EMAIL: EmailSender(
                database, make_sendgrid(settings), public_url="https://x.example", key=b"key"
            ),
            Channel.SMS: SmsSender(database, make_sendmode(settings), max_parts=4),
        },
    )
    lanes = [
        threading.Thread(target=engine.run_slice, args=(execution_id,), kwargs={"most_batches": 10_000})
        for _ in range(LANES)
    ]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
