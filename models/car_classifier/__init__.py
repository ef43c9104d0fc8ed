"""Put code here when it fine-tunes, judges or draws the classifier of cars, and for nothing else."""
