"""Put code here when it decides an event from rows of tracks and motion: arrays in, rows out. No pictures, no SQL."""
