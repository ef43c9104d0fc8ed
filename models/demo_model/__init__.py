"""Put code here when only the training of the shipped model needs it."""
