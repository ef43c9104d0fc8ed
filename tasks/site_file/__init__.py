"""Put code here when it reads the site file (nightjar.toml), or follows from its text alone. No database."""
