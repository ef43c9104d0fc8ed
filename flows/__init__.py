"""Put a flow here, one per file: its parameters, the order of its steps, and its artifacts."""
