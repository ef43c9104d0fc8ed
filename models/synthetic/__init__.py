"""Put code here when it renders people with known joints."""
