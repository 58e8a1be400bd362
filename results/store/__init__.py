"""The database: tables, records, migrations, revisions, files of trials."""
