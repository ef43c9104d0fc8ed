"""Put here a table's definition; storage/sql/tables.py names all of them."""
