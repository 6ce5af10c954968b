"""How a search is shown: as text, in charts and in reports."""
