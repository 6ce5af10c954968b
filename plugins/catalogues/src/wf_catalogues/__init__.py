"""Another library's classes as the members of a catalogue, for authors of adapters."""
