"""Put code here when a person starts it: the `nightjar` command, Prefect's deployments, workers, servers."""
