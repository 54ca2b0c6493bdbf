"""S3: its objects, their keys, requests at the same time."""
