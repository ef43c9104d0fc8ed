"""Put queries of the pages of `nightjar browse` here. They only read."""
