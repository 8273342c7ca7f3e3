"""Where a local org's schema and data come from: describes, source metadata, standard objects, data sets."""
