"""Put code here when it reads or writes the objects of a folder, an S3 store or a published address."""
