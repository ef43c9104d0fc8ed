"""Put code here when it decides what happens next in a night."""
