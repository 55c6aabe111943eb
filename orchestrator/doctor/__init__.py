"""`matview doctor`: looks at everything that an installation stands on, and says what to do about what is wrong."""
