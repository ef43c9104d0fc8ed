"""Put code here when it changes a pixel, a tensor or a pose. Arrays and files in, arrays and files out."""
