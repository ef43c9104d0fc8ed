"""Put what the player of a video reads here: rows as bytes, and lanes of a timeline."""
