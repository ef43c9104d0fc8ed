"""Put code here when it decides on waiting for unavailable servers: how long, and after which errors."""
