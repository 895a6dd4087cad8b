package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// then says what happens to a connection after an answer.
type then int

const (
	thenKeep then = iota
	thenClose
	thenReset
)

type fault int

const (
	faultNone fault = iota - 1
	faultUnavailable
	faultUnavailableClose
	faultReset
	// From here on the event is accepted, but the client can't know.
	faultLost
	faultLostReset
	faultCut
)

// faultNames are the faults in the order of their constants.
var faultNames = []string{"503", "503-close", "reset", "lost", "lost-reset", "cut"}

// headBytes is how much of a body may hold the event's id.
const headBytes = 512

type eventID [32]byte

var (
	unavailable      = []byte("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
	unavailableClose = []byte(
		"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
	idMark = []byte(`"event_id":"`)

	ambiguous atomic.Int64

	mutex    sync.Mutex // guards chance and accepts
	chance   *rand.Rand
	kinds    []fault // each as likely as the others
	accepts  = map[eventID]int64{}
	cutAfter = 20
)

func draw() fault {
	if *faults == 0 {
		return faultNone
	}
	mutex.Lock()
	defer mutex.Unlock()
	if chance.Float64() >= *faults {
		return faultNone
	}
	return kinds[chance.IntN(len(kinds))]
}

// parseKinds returns the named faults; "" names all of them.
func parseKinds(names string) ([]fault, error) {
	var found []fault
	for number, name := range faultNames {
		if names == "" || slices.Contains(strings.Split(names, ","), name) {
			found = append(found, fault(number))
		}
	}
	if names != "" && len(found) != len(strings.Split(names, ",")) {
		return nil, fmt.Errorf("-kinds %s: expected some of %s", names, strings.Join(faultNames, ","))
	}
	return found, nil
}

func answerOf(kind fault) ([]byte, then) {
	switch kind {
	case faultNone:
		return acceptedBytes, thenKeep
	case faultLostReset:
		ambiguous.Add(1)
		return nil, thenReset
	case faultCut:
		ambiguous.Add(1)
		return acceptedBytes[:cutAfter], thenClose
	}
	ambiguous.Add(1)
	return nil, thenClose
}

// reset makes the peer see a reset instead of an end.
func reset(connection net.Conn) {
	if plain, ok := connection.(*net.TCPConn); ok {
		_ = plain.SetLinger(0)
	}
}

func idOf(start []byte) (id eventID) {
	if at := bytes.Index(start, idMark); at >= 0 {
		copy(id[:], start[at+len(idMark):])
	}
	return id
}

// remember keeps the time of an event's first acceptance.
func remember(id eventID, now int64) {
	mutex.Lock()
	defer mutex.Unlock()
	if _, known := accepts[id]; !known {
		accepts[id] = now
	}
}

func distinct() int {
	mutex.Lock()
	defer mutex.Unlock()
	return len(accepts)
}

func times() string {
	mutex.Lock()
	defer mutex.Unlock()
	var lines strings.Builder
	for id, ns := range accepts {
		lines.Write(id[:])
		lines.WriteByte(' ')
		lines.WriteString(strconv.FormatInt(ns, 10))
		lines.WriteByte('\n')
	}
	return lines.String()
}

func forget() {
	mutex.Lock()
	defer mutex.Unlock()
	clear(accepts)
}
