"""Environment in which Alembic runs the migrations: the transaction that `storage.sql.database.migrate` opened.

No command line.
"""

from alembic import context

from storage.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
