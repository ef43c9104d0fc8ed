"""Put code here when it is about Prefect's runs: their names, tags, policies and cancellation."""
