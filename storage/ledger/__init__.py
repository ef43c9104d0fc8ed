"""Put SQL here when it changes or reads what is planned, leased, done or lost."""
