"""Put code here when it runs a model on frames on a device, or measures that."""
