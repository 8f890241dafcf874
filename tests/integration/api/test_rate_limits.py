"""Rate limits over HTTP."""

from fastapi.testclient import TestClient

from tests.integration.api.answers import problem_of


def test_a_limit_is_set_changed_listed_and_ended(api: TestClient) -> None:
    limit = api.put("/api/rate-limits/sendgrid", json={"messages_per_second": 500.0}).json()
    assert (limit["name"], limit["messages_per_second"], limit["requests_per_second"]) == (
        "sendgrid",
        500,
        None,
    )
    api.put("/api/rate-limits/sendgrid", json={"requests_per_second": 10.0})
    items = api.get("/api/rate-limits").json()["items"]
    assert [(item["name"], item["requests_per_second"]) for item in items] == [("sendgrid", 10)]
    assert api.delete("/api/rate-limits/sendgrid").status_code == 204
    assert api.get("/api/rate-limits").json()["items"] == []
    problem_of(api.delete("/api/rate-limits/sendgrid"), 404)


def test_a_limit_of_a_flow_needs_the_flow(api: TestClient) -> None:
    problem_of(api.put("/api/rate-limits/flow-99", json={"messages_per_second": 5.0}), 404)


def test_what_limits_nothing_is_refused_with_the_way_out(api: TestClient) -> None:
    for body in ({}, {"messages_per_second": 0}, {"messages_per_second": "5"}, {"per_minute": 5}):
        problem_of(api.put("/api/rate-limits/sendgrid", json=body), 422)
    problem_of(api.put("/api/rate-limits/mailgun", json={"messages_per_second": 5.0}), 422)
