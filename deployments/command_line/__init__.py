"""Put the name, arguments and help of a command here; its work belongs into deployments/commands.py and the tasks."""
