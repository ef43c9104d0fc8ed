"""Put here the SQL of analyses: their versions, the poses that they read, and the tracks and motion that they write."""
