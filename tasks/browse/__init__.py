"""Put what the pages of `nightjar browse` show beside rows here: addresses, videos, stills, times of frames."""
