"""What docker-compose.yaml needs inside the image, and to be filled in before."""
