"""Put code here when it is a step of the nightly batch, on this machine or before and after a fleet."""
