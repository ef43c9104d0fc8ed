"""Put code here when a user starts it: the `nightjar` command, Prefect's deployments, workers, servers."""
