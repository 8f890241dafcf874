"""The example to look around in."""

from sqlalchemy import Engine, select

from db.engine import Database
from db.models import Client
from db.queries.custom_fields import list_field_types
from deployments.seed import seed_database


def test_the_example_is_made_once_with_the_field_that_its_clients_have(engine: Engine) -> None:
    database = Database(engine)
    assert "4 clients" in seed_database(database)
    assert "there already" in seed_database(database)
    with database.reading() as session:
        cities = [fields["city"] for fields in session.scalars(select(Client.custom_fields))]
        assert sorted(cities) == ["Cork", "Dublin", "Galway", "Sligo"]
        assert list(list_field_types(session)) == ["city"]
