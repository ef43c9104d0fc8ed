"""Put the page of queries here: the box, its answers as table and files, and the process that runs a query."""
