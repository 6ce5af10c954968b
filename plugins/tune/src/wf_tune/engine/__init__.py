"""What a search is made of: the components that choose settings and end trials."""
