-- What wrk sends to the sink: a request like the consumer's, of the same size.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-sentry-envelope"
wrk.body = "{}\n" .. string.rep("x", 1500)
