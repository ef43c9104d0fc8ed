"""A seeded fuzzer of everything that Nightjar reads from outside: `make fuzz`, and a short run in the suite."""
