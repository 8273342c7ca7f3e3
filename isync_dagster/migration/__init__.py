"""The verbs that join the pure rooms and the effects: extract, preflight, remap, load, relink, validate."""
