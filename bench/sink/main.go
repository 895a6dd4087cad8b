// Command sink is an upstream that accepts every envelope and keeps none: so cheap that the
// benchmark measures the sender. It prints its port, and exits when its standard input ends, which
// is when its parent does.
//
// By flags, it uses net/http, speaks TLS, answers late, remembers events by their ids, or fails a share of the
// requests in six ways (faults.go).
//
// It reads just as much HTTP/1.1 as the benchmark's clients write: kept-alive connections, and
// bodies with a Content-Length.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// As long as Relay's answer to an envelope with an event.
const accepted = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" +
	"content-length: 41\r\n\r\n{\"id\":\"00000000000000000000000000000000\"}"

var (
	tlsFolder = flag.String("tls", "", "speak TLS, and write ca.pem into this folder")
	delay     = flag.Duration("delay", 0, "wait so long before each answer")
	keepIDs   = flag.Bool("ids", false, "remember the id and time of each accepted event")
	faults    = flag.Float64("faults", 0, "share of the requests that fail")
	faultKind = flag.String("kinds", "", "the failures, by name and separated by commas (default all)")
	standard  = flag.Bool("net-http", false, "serve with net/http, as an ordinary receiver in Go does")
	seed      = flag.Uint64("seed", 1, "seed of the failures")
)

var (
	count   atomic.Int64
	refused atomic.Int64
	firstNs atomic.Int64
	lastNs  atomic.Int64
)

func main() {
	flag.Parse()
	if !*standard {
		// One core is plenty: a second one would go to looking for work, while others need it.
		runtime.GOMAXPROCS(1)
	}
	chance = rand.New(rand.NewPCG(*seed, 0))
	var err error
	if kinds, err = parseKinds(*faultKind); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	if *tlsFolder != "" {
		listener = secured(listener, *tlsFolder)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	fmt.Println(port)
	if *standard {
		go func() { log.Fatal(http.Serve(listener, http.HandlerFunc(serveStandard))) }()
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				log.Fatal(err)
			}
			go serve(connection)
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func serve(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReaderSize(connection, 64*1024)
	for {
		answer, then, err := handle(reader)
		if err != nil {
			return
		}
		if len(answer) > 0 {
			if _, err := connection.Write(answer); err != nil {
				return
			}
		}
		switch then {
		case thenReset:
			reset(connection)
			return
		case thenClose:
			return
		}
	}
}

var (
	acceptedBytes = []byte(accepted)
	statsRequest  = []byte("GET /stats ")
	timesRequest  = []byte("GET /times ")
	resetRequest  = []byte("POST /reset ")
	postRequest   = []byte("POST /api/")
	lengthHeader  = []byte("content-length:")
)

// handle reads one request and gives the answer to it, and what happens to the connection then.
func handle(reader *bufio.Reader) ([]byte, then, error) {
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return nil, thenKeep, err
	}
	// The line is the reader's own memory: it is gone after the next read.
	isStats := bytes.HasPrefix(line, statsRequest)
	isTimes := bytes.HasPrefix(line, timesRequest)
	isReset := bytes.HasPrefix(line, resetRequest)
	isEnvelope := bytes.HasPrefix(line, postRequest)
	length, err := readHeaders(reader)
	if err != nil {
		return nil, thenKeep, err
	}
	var id eventID
	if isEnvelope && length > 0 {
		start, err := reader.Peek(min(length, headBytes))
		if err != nil {
			return nil, thenKeep, err
		}
		// An envelope, or one that gzip compressed.
		isEnvelope = start[0] == '{' || start[0] == 0x1f
		if *keepIDs {
			id = idOf(start)
		}
	}
	if _, err := reader.Discard(length); err != nil {
		return nil, thenKeep, err
	}
	switch {
	case isEnvelope && length > 0:
		if *delay > 0 {
			time.Sleep(*delay)
		}
		answer, then := accept(id)
		return answer, then, nil
	case isStats:
		return stats(), thenKeep, nil
	case isTimes:
		return answer("200 OK", times()), thenKeep, nil
	case isReset:
		for _, each := range []*atomic.Int64{&count, &refused, &firstNs, &lastNs, &ambiguous} {
			each.Store(0)
		}
		forget()
		return answer("200 OK", "{}"), thenKeep, nil
	}
	refused.Add(1)
	return answer("400 Bad Request", `{"detail":"not an envelope"}`), thenKeep, nil
}

// accept counts an envelope, unless it is one that fails before it is accepted.
func accept(id eventID) ([]byte, then) {
	fault := draw()
	if fault == faultUnavailable {
		return unavailable, thenKeep
	}
	if fault == faultReset {
		return nil, thenReset
	}
	if fault == faultUnavailableClose {
		return unavailableClose, thenClose
	}
	now := time.Now().UnixNano()
	firstNs.CompareAndSwap(0, now)
	lastNs.Store(now)
	count.Add(1)
	if *keepIDs {
		remember(id, now)
	}
	return answerOf(fault)
}

// readHeaders reads up to the end of the headers and gives the Content-Length, 0 without one.
func readHeaders(reader *bufio.Reader) (int, error) {
	length := 0
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			return length, nil
		}
		if len(line) > len(lengthHeader) && bytes.EqualFold(line[:len(lengthHeader)], lengthHeader) {
			length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(lengthHeader):])))
			if err != nil {
				return 0, err
			}
		}
	}
}

func stats() []byte {
	return answer("200 OK", statsBody())
}

func statsBody() string {
	return fmt.Sprintf(
		`{"accepted":%d,"refused":%d,"first_ns":%d,"last_ns":%d,"distinct":%d,"ambiguous":%d}`,
		count.Load(), refused.Load(), firstNs.Load(), lastNs.Load(), distinct(), ambiguous.Load())
}

func answer(status, body string) []byte {
	return []byte(fmt.Sprintf("HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
		status, len(body), body))
}
