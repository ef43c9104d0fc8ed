"""Put code here when it keeps the reading of a foreign file inside a child process with limits."""
