"""The Tooling API: an org's metadata as records, and the switches of its automation."""
