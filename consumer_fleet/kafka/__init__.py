"""Kafka: a consumer that yields chunks, a producer of dead letters, and what the cluster tells."""
