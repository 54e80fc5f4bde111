"""Runs migrations on the connection that storage/schema.py hands over, inside its transaction."""

from alembic import context

from storage.migrations.scope import is_ours
from storage.tables import Row

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("migrations run through `framewatch db upgrade`, which hands over its connection")

context.configure(connection=connection, target_metadata=Row.metadata, include_name=is_ours)
with context.begin_transaction():
    context.run_migrations()
