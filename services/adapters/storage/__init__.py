"""Object storage behind the port: a folder, or anything that speaks the S3 API."""
