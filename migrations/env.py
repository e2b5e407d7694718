"""Alembic's environment: the URL comes from the caller, or from the settings on the command line."""

from alembic import context

from core.settings import Settings
from core.store.db import Database
from core.store.tables import Base

database = Database(context.config.attributes.get("url") or Settings.load().database)
with database.engine.connect() as connection:
    if connection.dialect.name == "sqlite":  # where a table is made anew, dropping the old one would delete all that refers to it
        connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")  # outside of any transaction, in which it does nothing
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
database.dispose()
