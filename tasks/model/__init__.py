"""Put code here when it finds, converts, checks, keeps or evaluates a model."""
