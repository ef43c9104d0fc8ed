"""Put code here when it reads, surveys or splits labelled pictures before anything is trained on them."""
