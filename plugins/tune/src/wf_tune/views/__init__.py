"""Views of a search: text, charts, and a section of reports."""
