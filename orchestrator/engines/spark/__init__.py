"""Views that run on a cluster, over Spark Connect."""
