"""Put code here when it words something for people: terminals, logs and Prefect's pages."""
