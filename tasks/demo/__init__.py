"""Put code here when only the demo needs it."""
