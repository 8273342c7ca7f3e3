"""Template and two schemas resolved into a load order: components, deferral, levels, field mapping."""
