"""Put code here when it renders people whose joints are known."""
