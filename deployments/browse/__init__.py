"""Put the pages of `nightjar browse` here: routes, templates, scripts and styles."""
