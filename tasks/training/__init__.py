"""Put code here when it trains a model or compares trainings."""
