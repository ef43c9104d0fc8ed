"""Put code here when it is done once per segment: open its video, infer, keep and load its result."""
