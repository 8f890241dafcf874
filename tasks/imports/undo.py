"""Takes an import back, piece by piece. Each piece is one transaction; a run that was cut is gone on with by the next one."""

from collections.abc import Callable
from functools import partial

from db.engine import Database, Session
from db.queries import import_undo
from db.queries.import_undo import UndonePiece

PIECE_CLIENTS = 1_000
Progress = Callable[[int, int | None], None]
# Memberships come last: those of deleted clients have gone with them.
_STEPS = (import_undo.undo_changes, import_undo.undo_creations, import_undo.undo_memberships)


def undo(
    database: Database, import_id: int, *, on_progress: Progress, piece_clients: int = PIECE_CLIENTS
) -> None:
    """Take back what is left of an import that is `undoing`. Safe to call again, at any time and from anywhere.

    Raises:
        Conflict: it is not being undone (any more): another run has finished it.
    """
    with database.reading() as session:
        total = import_undo.count_left(session, import_id)
    done = 0
    on_progress(done, total)
    for step in _STEPS:
        while clients := database.run(partial(_piece, step, import_id, piece_clients)).clients:
            if step is not import_undo.undo_memberships:
                done += clients
                on_progress(min(done, total), total)
    database.run(lambda s: import_undo.finish_undo(s, import_id))


def _piece(step: Callable[..., UndonePiece], import_id: int, limit: int, session: Session) -> UndonePiece:
    return step(session, import_id, limit=limit)
