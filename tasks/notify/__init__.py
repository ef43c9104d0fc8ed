"""Put code here when it tells people about events and nights: addresses, texts, pictures, sending."""
