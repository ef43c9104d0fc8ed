"""Put code here when it makes the events of stored motion: versions of rules and zones, and runs over recordings."""
