// Command forwarder does consumer-fleet's job as an experienced Go programmer would write it: it
// reads msgpack events with franz-go, builds envelopes, posts them with net/http from a pool of
// goroutines over kept-alive connections, and commits by hand what is settled without a gap.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/vmihailenco/msgpack/v5"
)

const (
	maxPolled      = 2_000
	requestTimeout = 30 * time.Second
	commitInterval = time.Second
)

var (
	brokers     = flag.String("bootstrap-servers", "", "host:port,…")
	topic       = flag.String("topic", "", "the topic to read")
	group       = flag.String("group", "", "the consumer group")
	target      = flag.String("url", "", "where to post envelopes")
	dsn         = flag.String("dsn", "", "the envelopes' DSN")
	connections = flag.Int("connections", 64, "requests at the same time")
	compressed  = flag.Bool("gzip", false, "compress the bodies")
	caFile      = flag.String("ca-file", "", "the certificate to trust")
)

// event is the part of an ingest-events message that the envelope needs.
type event struct {
	Payload []byte `msgpack:"payload"`
	ID      string `msgpack:"event_id"`
}

// partition tracks which offsets are settled; only the part without a gap may be committed.
type partition struct {
	mutex   sync.Mutex
	settled map[int64]*kgo.Record
	next    int64
	last    *kgo.Record
}

func (p *partition) settle(record *kgo.Record) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.settled[record.Offset] = record
	for {
		following, found := p.settled[p.next]
		if !found {
			return
		}
		delete(p.settled, p.next)
		p.last = following
		p.next++
	}
}

// take returns the last record of the settled prefix, or nil if nothing is new.
func (p *partition) take() *kgo.Record {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last := p.last
	p.last = nil
	return last
}

type task struct {
	record *kgo.Record
	owner  *partition
}

func main() {
	log.SetFlags(0)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(*brokers, ",")...),
		kgo.ConsumerGroup(*group),
		kgo.ConsumeTopics(*topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	tasks := make(chan task, maxPolled)
	var posters sync.WaitGroup
	post := newPoster()
	for range *connections {
		posters.Add(1)
		go func() {
			defer posters.Done()
			for each := range tasks {
				post.deliver(each.record.Value)
				each.owner.settle(each.record)
			}
		}()
	}
	read(ctx, client, tasks)
	close(tasks)
	posters.Wait()
}

// read hands records to the pool, and commits the settled prefixes once a second. A group of one
// member sees no rebalance, so a partition's state lives as long as the process.
func read(ctx context.Context, client *kgo.Client, tasks chan<- task) {
	partitions := map[int32]*partition{}
	committed := time.Now()
	for ctx.Err() == nil {
		polling, cancel := context.WithTimeout(ctx, commitInterval)
		fetches := client.PollRecords(polling, maxPolled)
		cancel()
		fetches.EachError(func(topic string, number int32, err error) {
			if polling.Err() == nil {
				log.Fatalf("%s, partition %d: %v", topic, number, err)
			}
		})
		fetches.EachRecord(func(record *kgo.Record) {
			owner, known := partitions[record.Partition]
			if !known {
				owner = &partition{settled: map[int64]*kgo.Record{}, next: record.Offset}
				partitions[record.Partition] = owner
			}
			tasks <- task{record, owner}
		})
		if time.Since(committed) >= commitInterval {
			commit(client, partitions)
			committed = time.Now()
		}
	}
}

func commit(client *kgo.Client, partitions map[int32]*partition) {
	var records []*kgo.Record
	for _, each := range partitions {
		if record := each.take(); record != nil {
			records = append(records, record)
		}
	}
	if len(records) == 0 {
		return
	}
	if err := client.CommitRecords(context.Background(), records...); err != nil {
		log.Fatal(err)
	}
}

type poster struct {
	client *http.Client
	url    *url.URL
	header http.Header
	bodies sync.Pool
	zips   sync.Pool
}

func newPoster() *poster {
	address, err := url.Parse(*target)
	if err != nil {
		log.Fatal(err)
	}
	transport := &http.Transport{
		MaxIdleConns:        *connections,
		MaxIdleConnsPerHost: *connections,
		MaxConnsPerHost:     *connections,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
	if *caFile != "" {
		pem, err := os.ReadFile(*caFile)
		if err != nil {
			log.Fatal(err)
		}
		trusted := x509.NewCertPool()
		trusted.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: trusted}
	}
	header := http.Header{"Content-Type": {"application/x-sentry-envelope"}}
	if *compressed {
		header.Set("Content-Encoding", "gzip")
	}
	return &poster{
		client: &http.Client{Transport: transport, Timeout: requestTimeout},
		url:    address,
		header: header,
		bodies: sync.Pool{New: func() any { return new(bytes.Buffer) }},
		zips: sync.Pool{New: func() any {
			zip, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
			return zip
		}},
	}
}

// deliver posts one message until it is accepted.
func (p *poster) deliver(value []byte) {
	var decoded event
	if err := msgpack.Unmarshal(value, &decoded); err != nil {
		log.Fatal(err)
	}
	body := p.bodies.Get().(*bytes.Buffer)
	body.Reset()
	p.write(body, &decoded)
	for pause := 10 * time.Millisecond; !p.post(body.Bytes()); pause = min(2*pause, time.Second) {
		time.Sleep(pause)
	}
	p.bodies.Put(body)
}

func (p *poster) write(body *bytes.Buffer, decoded *event) {
	if !*compressed {
		writeEnvelope(body, decoded)
		return
	}
	zip := p.zips.Get().(*gzip.Writer)
	zip.Reset(body)
	writeEnvelope(zip, decoded)
	_ = zip.Close()
	p.zips.Put(zip)
}

func writeEnvelope(writer io.Writer, decoded *event) {
	fmt.Fprintf(writer, `{"dsn":"%s","sent_at":"%s","event_id":"%s"}`+"\n"+`{"type":"event","length":%d}`+"\n",
		*dsn, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), decoded.ID, len(decoded.Payload))
	_, _ = writer.Write(decoded.Payload)
	_, _ = writer.Write([]byte("\n"))
}

func (p *poster) post(body []byte) bool {
	request := &http.Request{
		Method:        http.MethodPost,
		URL:           p.url,
		Host:          p.url.Host,
		Header:        p.header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
	answer, err := p.client.Do(request)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode/100 == 2
}
