"""Put code here when it reads a container's own bytes, without FFmpeg: its kind, its lengths, its end."""
