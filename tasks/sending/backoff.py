"""When to try again what was certainly not taken. Pure."""

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 300.0


def retry_delay(attempts: int, retry_after: float | None, *, jitter: float) -> float:
    """Seconds to wait after the `attempts`-th try (1-based).

    A provider's own word (`retry_after`, from Retry-After or X-RateLimit-Reset) is kept; without one the wait
    doubles up to five minutes. `jitter` in 0..1 spreads the lanes over the last quarter of the wait, so that they
    do not all come back in the same instant.
    """
    wait = (
        retry_after
        if retry_after is not None
        else min(FIRST_SECONDS * 2.0 ** (attempts - 1), LONGEST_SECONDS)
    )
    return wait + jitter * max(wait, FIRST_SECONDS) / 4
