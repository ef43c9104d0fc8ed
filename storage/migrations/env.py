"""Environment in which Alembic runs the migrations: the transaction that `storage.sql.database.migrate` opened.

No command line.
"""

from alembic import context

from storage.sql.tables import metadata
from storage.sql.views import create_views, drop_views

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
drop_views(connection)
context.run_migrations()
if context.get_context().get_current_revision() == context.get_head_revision():
    create_views(connection)
