"""Put code here when it measures the speed of models and devices, or recommends models from such measurements."""
