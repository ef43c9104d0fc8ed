"""Put code here when it is done once per segment: open its video, infer, store and load its result."""
