"""Carries Sentry events from Kafka topics to Sentry-compatible upstreams and loses none."""
