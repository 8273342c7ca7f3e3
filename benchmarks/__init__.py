"""Benchmarks: a seeded world of any size, the floor that no tool can beat, and the tool measured against it."""
