"""Put the pages that lead to videos here: the last nights, a night, calendars of cameras and folders, the search."""
