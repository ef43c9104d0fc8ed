"""Put code here when it turns a network's outputs into people or labels."""
