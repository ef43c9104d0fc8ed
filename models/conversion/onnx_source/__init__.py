"""Put code here when it reads or checks an ONNX file, or computes what one says."""
