"""The database: its tables, sessions, migrations, and the keys of the API.
A row is the truth. A change of a table is a new file in ``migrations/versions``."""
