module consumer-fleet/bench/sink

go 1.22
