"""Making components from their tables: options converted, run values filled in, nested components made first."""
