"""The Metadata API: deploys that change a live org's schema and automation, retrieves, and lists of what is there."""
