"""Put code here when it finds, converts, checks, stores or evaluates a model."""
