"""Put code here when it draws rows or figures into a picture for people."""
