"""Put SQL here when it is about the schema, a query, or rows that are no part of the ledger."""
