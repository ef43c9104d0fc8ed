"""Put queries of the timeline, rows and series of a video here, and of the versions that a page shows of it."""
