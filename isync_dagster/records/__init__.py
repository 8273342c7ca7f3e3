"""Frames in, frames out: typing, transform, remap, match, decide, payload, pairing."""
