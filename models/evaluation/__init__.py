"""Put code here when it measures how right a model is."""
