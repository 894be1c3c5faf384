"""The epoch store: on the backup, one per protected disk."""
