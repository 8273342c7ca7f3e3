"""The local org against clients that nobody here wrote: `make conformance`."""
