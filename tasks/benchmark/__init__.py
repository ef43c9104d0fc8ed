"""Put code here when it measures the speed of models and devices, or advises by such measurements."""
