"""Put here what an analysis hands to the next one of its recording: its checkpoint, and rows cut by videos."""
