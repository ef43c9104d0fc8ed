"""Put code here when it recovers from processes and runs that ended without a report."""
