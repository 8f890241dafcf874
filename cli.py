"""`ics`: the command line. Commands are thin; what they do is in the rooms, imported only when it is needed."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from db.states import ImportPolicy, Role

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
token_app = typer.Typer(help="Tokens of the HTTP API.", no_args_is_help=True)
app.add_typer(token_app, name="token")
user_app = typer.Typer(help="Users of the platform.", no_args_is_help=True)
app.add_typer(user_app, name="user")
jobs_app = typer.Typer(help="Work that gave up: see it, and try it again.", no_args_is_help=True)
app.add_typer(jobs_app, name="failed-jobs")
stats_app = typer.Typer(help="Counts of executions.", no_args_is_help=True)
app.add_typer(stats_app, name="stats")
events_app = typer.Typer(help="Webhook events that could not be applied.", no_args_is_help=True)
app.add_typer(events_app, name="webhook-events")
audit_app = typer.Typer(help="Who did what when.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")
errors = Console(stderr=True, highlight=False)


@app.callback()
def keep_private() -> None:
    """Client communication and marketing automation."""
    # What is written, by this process or those it starts, holds clients: databases, logs, reports.
    os.umask(0o077)


@app.command()
def demo(
    csv: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, help="Use this CSV, not the generated one."),
    ] = None,
    clients: Annotated[int, typer.Option(min=100, help="How many clients to generate.")] = 5000,
    seed: Annotated[
        int, typer.Option(help="Seed of the generated clients and of the providers' behaviour.")
    ] = 20,
) -> None:
    """Run the main job to its end on the embedded set-up: import, email campaign, SMS campaign, webhooks, check."""
    from deployments.demo import run_demo
    from settings import get_settings

    raise typer.Exit(run_demo(get_settings(), csv=csv, clients=clients, seed=seed))


@app.command()
def up(
    sandbox: Annotated[
        bool, typer.Option(help="Start the sandbox in place of SendGrid and Sendmode.")
    ] = True,
) -> None:
    """Start everything on this machine and stay until Ctrl-C."""
    from deployments.local import stay_up
    from settings import get_settings

    stay_up(get_settings(), sandbox=sandbox)


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    from deployments.api_server import serve_api
    from deployments.checks import check_database, check_port
    from deployments.production import check_production
    from settings import get_settings

    settings = get_settings()
    check_production(settings)
    check_port(settings.api_host, settings.api_port, "ICS_API_PORT")
    check_database(settings)
    serve_api(settings)


@app.command()
def check() -> None:
    """Say which settings are not safe in production, whatever ICS_ENVIRONMENT is; exit 1 when there are any."""
    import os

    from deployments.production import unsafe_settings
    from settings import get_settings

    problems = list(unsafe_settings(get_settings(), os.environ))
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("the settings are safe in production")


@audit_app.command("verify")
def audit_verify() -> None:
    """Check that nothing of the sealed audit log was changed, taken out or added; exit 1 when something was."""
    from deployments.audit_command import verify
    from settings import get_settings

    raise typer.Exit(verify(get_settings()))


@app.command()
def worker(
    limit: Annotated[
        int, typer.Option(min=1, envvar="ICS_WORKER_LIMIT", help="Most flow runs at a time.")
    ] = 8,
) -> None:
    """Run a Prefect worker that sends and imports."""
    from deployments.checks import check_database, check_prefect
    from deployments.production import check_production
    from settings import get_settings

    settings = get_settings()
    check_production(settings)
    check_database(settings)
    check_prefect(settings)
    from deployments.worker import run_worker

    run_worker(settings, limit=limit)


@app.command()
def sandbox() -> None:
    """Serve the providers' sandbox: SendGrid and Sendmode on this machine."""
    from deployments.checks import check_port
    from sandbox.config import config_from_settings
    from sandbox.server import run
    from settings import get_settings

    settings = get_settings()
    check_port("127.0.0.1", settings.sandbox_port, "ICS_SANDBOX_PORT")
    run(config_from_settings(settings), "127.0.0.1", settings.sandbox_port)


@app.command()
def migrate() -> None:
    """Bring the database of ICS_DATABASE_URL to the newest version."""
    from db.health import check_connection
    from db.migrate import pending, upgrade
    from settings import get_settings

    settings = get_settings()
    check_connection(settings.database_url)
    waiting = pending(settings.database_url)
    upgrade(settings.database_url)
    typer.echo(f"{len(waiting)} migrations applied" if waiting else "the database is up to date")


@app.command()
def seed() -> None:
    """Fill a database with a small, ready example: clients, a list, templates and flows."""
    from db.engine import get_database
    from deployments.checks import check_database
    from deployments.seed import seed_database
    from settings import get_settings

    check_database(get_settings())
    typer.echo(seed_database(get_database()))


@app.command()
def deploy() -> None:
    """Create or update the work pool and the deployments in Prefect, and those of active marketing flows."""
    from db.engine import get_database
    from deployments.checks import check_database, check_prefect
    from deployments.deploy import deploy_all
    from settings import get_settings
    from tasks.orchestration.sweep import sync_active

    settings = get_settings()
    check_database(settings)
    check_prefect(settings)
    for name in deploy_all(settings):
        typer.echo(name)
    typer.echo(f"{sync_active(get_database())} active marketing flows")


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="What or who the token is for.")],
    role: Annotated[Role, typer.Option(help="What it is trusted with.")] = Role.ADMIN,
    ability: Annotated[
        list[str] | None,
        typer.Option(help="Narrows the role, e.g. clients:read; may be given several times."),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="How long it is good; ICS_TOKEN_DAYS when left out.")
    ] = None,
) -> None:
    """Create a token of the HTTP API that belongs to no user. It is shown once; only its hash is stored."""
    from deployments.users_command import create_service_token
    from settings import get_settings

    typer.echo(create_service_token(get_settings(), name, role=role, abilities=ability, days=days))


@token_app.command("list")
def token_list() -> None:
    """Show the tokens that belong to no user, and how each begins."""
    from deployments.users_command import show_tokens
    from settings import get_settings

    show_tokens(get_settings())


@token_app.command("revoke")
def token_revoke(token_id: Annotated[int, typer.Argument(help="Its number in `ics token list`.")]) -> None:
    """Revoke a token, whoever has it: it opens nothing from now on."""
    from deployments.users_command import revoke
    from settings import get_settings

    revoke(get_settings(), token_id)


@user_app.command("create")
def user_create(
    email: Annotated[str, typer.Argument(help="What he logs in with.")],
    name: Annotated[str, typer.Option(help="What others see; the email when left out.")] = "",
    role: Annotated[Role, typer.Option(help="What he is trusted with.")] = Role.ADMIN,
) -> None:
    """Create a user, the first admin above all, and show the link by which he chooses his password."""
    from deployments.users_command import create_user
    from settings import get_settings

    create_user(get_settings(), email, name=name, role=role)


@user_app.command("list")
def user_list() -> None:
    """Show the users."""
    from deployments.users_command import show_users
    from settings import get_settings

    show_users(get_settings())


@user_app.command("password")
def user_password(email: Annotated[str, typer.Argument(help="Whose password is to be chosen.")]) -> None:
    """Choose a password here, for somebody who forgot it. All sessions and tokens of the user end."""
    from deployments.users_command import ask_password
    from settings import get_settings

    ask_password(get_settings(), email)


@user_app.command("disable")
def user_disable(email: Annotated[str, typer.Argument(help="Who is not to come in any more.")]) -> None:
    """Make a user inactive; his tokens are revoked."""
    from deployments.users_command import disable
    from settings import get_settings

    disable(get_settings(), email)


@app.command("import")
def import_(
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV or Excel workbook of clients."),
    ] = None,
    list_name: Annotated[str | None, typer.Option("--list", help="Put the clients on this list.")] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            readable=True,
            help="JSON: column -> target; suggested when left out.",
        ),
    ] = None,
    mapping_name: Annotated[str | None, typer.Option(help="Name or id of a saved mapping.")] = None,
    policy: Annotated[
        ImportPolicy | None,
        typer.Option(help="Clients that exist: update them, fill their empty fields, or skip them."),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Region of phone numbers in national form, e.g. IE.")
    ] = None,
    sheet: Annotated[
        str | None, typer.Option(help="A workbook's sheet; the first one when left out.")
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option(help="Whether the first row holds names of columns; looked at when left out."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Report what would happen, and change nothing.")] = False,
    rejects: Annotated[
        Path | None, typer.Option(dir_okay=False, writable=True, help="Write the rejected rows here, as CSV.")
    ] = None,
    follow: Annotated[int | None, typer.Option(min=1, help="Follow this import; takes no file.")] = None,
    undo: Annotated[int | None, typer.Option(min=1, help="Take this import back; takes no file.")] = None,
    import_dry_run: Annotated[
        int | None, typer.Option(min=1, help="Import the file of this dry run; takes no file.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="The API; default: the one of this installation.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ICS_TOKEN", help="A token of the API.")] = None,
) -> None:
    """Import clients from a CSV or Excel workbook through the API, with a progress bar and a report.

    Exit codes: 0 when it completed, 1 when it failed, 2 when the file or an option does not fit.
    """
    from deployments.client import api_client
    from deployments.import_command import Options, act, import_file
    from settings import get_settings

    actions = {None: follow, "undo": undo, "import": import_dry_run}
    asked = [(action, import_id) for action, import_id in actions.items() if import_id is not None]
    if len(asked) + (file is not None) != 1:
        raise typer.BadParameter("give a file, or one of --follow, --undo and --import-dry-run")
    options = Options(list_name, mapping, mapping_name, policy, region, sheet, header, dry_run=dry_run)
    if file is None and options != Options():
        raise typer.BadParameter("these options belong to a file, which is not given")
    with api_client(get_settings(), url=url, token=token) as client:
        if file is not None:
            raise typer.Exit(import_file(client, file, options, rejects=rejects))
        action, import_id = asked[0]
        raise typer.Exit(act(client, import_id, action, rejects=rejects))


@app.command()
def send(
    flow_id: Annotated[int, typer.Argument(min=1)],
    watch: Annotated[bool, typer.Option(help="Stay and draw the progress.")] = False,
    url: Annotated[str | None, typer.Option(help="The API; default: the one of this installation.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ICS_TOKEN", help="A token of the API.")] = None,
) -> None:
    """Send a flow now."""
    from deployments.client import api_client
    from deployments.watching import show_status, watch_executions
    from settings import get_settings

    with api_client(get_settings(), url=url, token=token) as client:
        execution = client.post(f"/api/flows/{flow_id}/send")
        typer.echo(f"execution {execution['id']} is {execution['state']}")
        if watch:
            watch_executions(client, [execution["id"]])
            show_status(client, execution["id"])


@app.command()
def limit(
    name: Annotated[
        str | None,
        typer.Argument(help="sendgrid, sendmode or flow-<id>; all limits are shown when left out."),
    ] = None,
    requests: Annotated[float | None, typer.Option(help="Most requests a second.")] = None,
    messages: Annotated[float | None, typer.Option(help="Most messages a second.")] = None,
    off: Annotated[bool, typer.Option("--off", help="End the limit.")] = False,
    url: Annotated[str | None, typer.Option(help="The API; default: the one of this installation.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ICS_TOKEN", help="A token of the API.")] = None,
) -> None:
    """Show or set how fast may be sent to a provider or for a flow; holds for runs that are sending too."""
    from deployments.client import api_client
    from deployments.limits_command import run_limit
    from settings import get_settings

    with api_client(get_settings(), url=url, token=token) as client:
        run_limit(client, name, requests=requests, messages=messages, off=off)


@app.command()
def status(
    execution_id: Annotated[int, typer.Argument(min=1)],
    watch: Annotated[bool, typer.Option(help="Stay and draw the progress until it ends.")] = False,
    url: Annotated[str | None, typer.Option(help="The API; default: the one of this installation.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ICS_TOKEN", help="A token of the API.")] = None,
) -> None:
    """Show an execution: its state, counts and links."""
    from deployments.client import api_client
    from deployments.watching import show_status, watch_executions
    from settings import get_settings

    with api_client(get_settings(), url=url, token=token) as client:
        if watch:
            watch_executions(client, [execution_id])
        show_status(client, execution_id)


@app.command()
def health(
    url: Annotated[str | None, typer.Option(help="The API; default: the one of this installation.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ICS_TOKEN", help="A token of the API.")] = None,
) -> None:
    """Show what waits and what is stuck, with what to do. Exit code 1 when there is something to do."""
    from deployments.client import api_client
    from deployments.health_command import show_health
    from settings import get_settings

    with api_client(get_settings(), url=url, token=token) as client:
        raise typer.Exit(show_health(client))


@jobs_app.command("list")
def failed_jobs_list(
    with_retried: Annotated[bool, typer.Option("--all", help="Also those that were retried.")] = False,
    url: Annotated[str | None, typer.Option(help="The API; default: the one of this installation.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ICS_TOKEN", help="A token of the API.")] = None,
) -> None:
    """List the open failed jobs."""
    from deployments.client import api_client
    from deployments.failed_jobs_command import list_jobs
    from settings import get_settings

    with api_client(get_settings(), url=url, token=token) as client:
        list_jobs(client, with_retried=with_retried)


@jobs_app.command("retry")
def failed_jobs_retry(
    job_id: Annotated[int | None, typer.Argument(min=1)] = None,
    every: Annotated[bool, typer.Option("--all", help="Every open job.")] = False,
    url: Annotated[str | None, typer.Option(help="The API; default: the one of this installation.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ICS_TOKEN", help="A token of the API.")] = None,
) -> None:
    """Try a failed job again, or all open ones."""
    from deployments.client import api_client
    from deployments.failed_jobs_command import retry_all, retry_job
    from settings import get_settings

    if every == (job_id is not None):
        raise typer.BadParameter("give the id of a failed job, or --all")
    with api_client(get_settings(), url=url, token=token) as client:
        if job_id is None:
            raise typer.Exit(retry_all(client))
        retry_job(client, job_id)


@stats_app.command("verify")
def stats_verify(
    execution_id: Annotated[
        int | None, typer.Argument(min=1, help="All executions when it is left out.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set right what differs; kept with who and when.")
    ] = False,
) -> None:
    """Compare the counts of executions with a recount of ledger and events, and messages with their events.

    Reads the database itself. Exit code 1 when there was a difference, one that was repaired too.
    """
    from db.engine import get_database
    from deployments.checks import check_database
    from deployments.verify_command import run_verify
    from settings import get_settings

    check_database(get_settings())
    raise typer.Exit(run_verify(get_database(), execution_id, with_repair=repair))


@stats_app.command("relabel")
def stats_relabel(execution_id: Annotated[int, typer.Argument(min=1)]) -> None:
    """Tell again which opens and clicks are a machine's, by the present rule and scanners; counts follow.

    Works on the database itself; it may be cut, and run again.
    """
    from db.engine import get_database
    from deployments.checks import check_database
    from deployments.verify_command import run_relabel
    from settings import get_settings

    check_database(get_settings())
    run_relabel(get_database(), execution_id)


@events_app.command("list")
def webhook_events_list(
    with_closed: Annotated[bool, typer.Option("--all", help="Also those that are applied or gone.")] = False,
    url: Annotated[str | None, typer.Option(help="The API; default: the one of this installation.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ICS_TOKEN", help="A token of the API.")] = None,
) -> None:
    """List the events that could not be applied, with the reason."""
    from deployments.client import api_client
    from deployments.webhook_events_command import list_events
    from settings import get_settings

    with api_client(get_settings(), url=url, token=token) as client:
        list_events(client, with_closed=with_closed)


@events_app.command("replay")
def webhook_events_replay(
    event_id: Annotated[int | None, typer.Argument(min=1)] = None,
    every: Annotated[bool, typer.Option("--all", help="Every open event.")] = False,
    url: Annotated[str | None, typer.Option(help="The API; default: the one of this installation.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ICS_TOKEN", help="A token of the API.")] = None,
) -> None:
    """Try an event again, or all open ones. Exit code 1 when one stays open."""
    from deployments.client import api_client
    from deployments.webhook_events_command import replay_all, replay_one
    from settings import get_settings

    if every == (event_id is not None):
        raise typer.BadParameter("give the id of a webhook event, or --all")
    with api_client(get_settings(), url=url, token=token) as client:
        raise typer.Exit(replay_all(client) if event_id is None else replay_one(client, event_id))


def main() -> None:
    """Entry point: an expected error is one clear line and exit code 1, never a traceback."""
    from contextlib import suppress

    from db.errors import IcsError
    from settings import get_settings
    from tasks.logs import configure_logs

    with suppress(ValidationError):  # A command that needs the settings says what is wrong with them.
        configure_logs(get_settings().log_level)
    try:
        app()
    except ValidationError as error:
        for problem in error.errors():
            field = ".".join(str(part) for part in problem["loc"]) or "settings"
            errors.print(f"[red]setting {field}:[/red] {problem['msg']} (see .env.example)")
        sys.exit(1)
    except IcsError as error:
        errors.print(f"[red]error:[/red] {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
