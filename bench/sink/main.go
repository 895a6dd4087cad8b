// Command sink is an upstream that accepts every envelope and keeps none: so cheap that the
// benchmark measures the sender. It prints its port, and exits when its standard input ends, which
// is when its parent does.
//
// It reads just as much HTTP/1.1 as the benchmark's clients write: kept-alive connections, and
// bodies with a Content-Length.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
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
	count   atomic.Int64
	refused atomic.Int64
	firstNs atomic.Int64
	lastNs  atomic.Int64
)

func main() {
	// One core is plenty: a second one would go to looking for work, while others need it.
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
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
		answer, err := handle(reader)
		if err != nil {
			return
		}
		if _, err := connection.Write(answer); err != nil {
			return
		}
	}
}

var (
	acceptedBytes = []byte(accepted)
	statsRequest  = []byte("GET /stats ")
	resetRequest  = []byte("POST /reset ")
	postRequest   = []byte("POST /api/")
	lengthHeader  = []byte("content-length:")
)

// handle reads one request and gives the answer to it.
func handle(reader *bufio.Reader) ([]byte, error) {
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	// The line is the reader's own memory: it is gone after the next read.
	isStats := bytes.HasPrefix(line, statsRequest)
	isReset := bytes.HasPrefix(line, resetRequest)
	isEnvelope := bytes.HasPrefix(line, postRequest)
	length, err := readHeaders(reader)
	if err != nil {
		return nil, err
	}
	if isEnvelope && length > 0 {
		start, err := reader.Peek(1)
		if err != nil {
			return nil, err
		}
		isEnvelope = start[0] == '{'
	}
	if _, err := reader.Discard(length); err != nil {
		return nil, err
	}
	switch {
	case isEnvelope && length > 0:
		now := time.Now().UnixNano()
		firstNs.CompareAndSwap(0, now)
		lastNs.Store(now)
		count.Add(1)
		return acceptedBytes, nil
	case isStats:
		return stats(), nil
	case isReset:
		for _, each := range []*atomic.Int64{&count, &refused, &firstNs, &lastNs} {
			each.Store(0)
		}
		return answer("200 OK", "{}"), nil
	}
	refused.Add(1)
	return answer("400 Bad Request", `{"detail":"this is no envelope"}`), nil
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
	body := fmt.Sprintf(`{"accepted":%d,"refused":%d,"first_ns":%d,"last_ns":%d}`,
		count.Load(), refused.Load(), firstNs.Load(), lastNs.Load())
	return answer("200 OK", body)
}

func answer(status, body string) []byte {
	return []byte(fmt.Sprintf("HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
		status, len(body), body))
}
