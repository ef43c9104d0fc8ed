"""Put code here when it imports TensorFlow or OpenVINO for others: without noise and without telemetry."""
