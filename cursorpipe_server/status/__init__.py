"""What is going on, for people and their scripts."""
