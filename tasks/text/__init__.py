"""Put code here when it formats text for people: terminals, logs and Prefect's UI."""
