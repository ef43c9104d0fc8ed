"""Real PostgreSQL and S3 servers on loopback, started and stopped by the fixtures."""
