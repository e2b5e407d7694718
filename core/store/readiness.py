"""Whether the database can be used."""

from sqlalchemy import text

from core.store.db import Database


def require_tables(db: Database) -> None:
    """Raises ``SQLAlchemyError`` where the database does not answer or has no tables yet."""
    with db.read() as session:
        session.execute(text("SELECT 1 FROM datasets LIMIT 1"))
