"""The run file: its layers, lists, references, origins and schema."""
