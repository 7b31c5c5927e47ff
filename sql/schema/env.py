"""How Alembic runs the migrations in versions/: on the connection that `ledger.migrate` gives, in its transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="alembic_version",
    version_table_schema="evergreen",
)
context.run_migrations()
