"""Put code here when it reads or writes zones, rules, visits, crossings or events, or shows them in a view."""
