"""Put code here when it reads a foreign file, or writes to a disk, a database or a store."""
