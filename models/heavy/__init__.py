"""Put code here when it imports TensorFlow or OpenVINO for others: quietly, and without a call home."""
