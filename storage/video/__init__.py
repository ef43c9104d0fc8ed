"""Put code here when it reads, shows or writes a video file. It knows no database."""
