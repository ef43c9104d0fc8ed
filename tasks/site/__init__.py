"""Put code here when it is about this installation: its settings, stores, names and scratch folders."""
