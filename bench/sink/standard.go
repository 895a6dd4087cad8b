package main

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// serveStandard is the sink's work with net/http: about twice the CPU per request. It knows no
// faults, delays or ids.
func serveStandard(writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		refused.Add(1)
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	writer.Header().Set("Content-Type", "application/json")
	switch {
	case request.URL.Path == "/stats":
		_, _ = io.WriteString(writer, statsBody())
	case request.URL.Path == "/reset":
		for _, each := range []*atomic.Int64{&count, &refused, &firstNs, &lastNs} {
			each.Store(0)
		}
	case len(body) > 0 && body[0] == '{':
		now := time.Now().UnixNano()
		firstNs.CompareAndSwap(0, now)
		lastNs.Store(now)
		count.Add(1)
		_, _ = io.WriteString(writer, `{"id":"00000000000000000000000000000000"}`)
	default:
		refused.Add(1)
		http.Error(writer, "not an envelope", http.StatusBadRequest)
	}
}
