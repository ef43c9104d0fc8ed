"""Put code here when it shows or draws a camera's zones for people. Visits and crossings are made in tasks.analysis."""
