"""Put code here when it measures the accuracy of a model."""
