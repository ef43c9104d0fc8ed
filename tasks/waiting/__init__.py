"""Put code here when it decides how long to wait for what is away, and which errors are worth waiting for."""
