"""Put here the analysis of stored poses: tracks and motion of a video, due analyses of a night or of all history."""
