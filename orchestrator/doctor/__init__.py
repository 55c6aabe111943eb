"""`matview doctor`: checks everything that an installation needs, and says what to do about each problem."""
