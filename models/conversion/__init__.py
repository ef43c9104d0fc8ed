"""Put code here when it turns a model of another format into an OpenVINO IR, or checks such an IR."""
