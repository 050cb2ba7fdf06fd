"""The steps of a study one by one, for a model of one's own."""
