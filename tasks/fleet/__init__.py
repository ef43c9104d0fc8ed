"""Put code here when it is about edge workers: what they are sent, what they do, what they report."""
