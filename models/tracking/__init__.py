"""Put code here when it decides which sightings in different frames are of the same person."""
