"""The database: its tables, sessions, migrations, and the keys of the API.
Rows are right where files disagree. A change of a table is a new file in ``migrations/versions``."""
