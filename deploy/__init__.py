"""What runs the project on servers."""
