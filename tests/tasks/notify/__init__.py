"""Tests of tasks.notify."""
