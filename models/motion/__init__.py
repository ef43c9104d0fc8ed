"""Put code here when it smooths the poses of a track or measures their motion."""
