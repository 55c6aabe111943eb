"""A demonstration on real data: a year of flights from New York, turned into views that read one another."""
