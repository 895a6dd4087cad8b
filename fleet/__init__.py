"""The outside world: bootstrap, workers, Kafka, capture, metrics and errors."""
