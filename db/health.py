"""Whether the database answers."""

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db.engine import make_engine
from db.errors import DatabaseUnavailable


def check_connection(url: str) -> None:
    """Connect once.

    Raises:
        DatabaseUrlInvalid: the URL cannot be used.
        DatabaseUnavailable: the server does not answer, or refuses us.
    """
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except DBAPIError as error:
        raise DatabaseUnavailable(engine.url.render_as_string(hide_password=True), str(error.orig)) from error
    finally:
        engine.dispose()
