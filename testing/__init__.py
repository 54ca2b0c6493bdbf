"""What tests and benchmarks share: an emulated EC2, S3 servers, apt's client, packages, deployments."""
