"""Put code here when it carries a frame through a model on a device, or times that."""
