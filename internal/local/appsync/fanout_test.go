package appsync_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"presence"
	"presence/internal/local/appsync"
)

const (
	onStatus  = `subscription($u: ID!) { onStatus(userId: $u) { userId status url title asOf } }`
	connected = `mutation($u: ID!) { connected(userId: $u) { userId status url title asOf topics } }`
)

// numbered answers like fakePresence, with titles that count the announcements.
func numbered() invoker {
	var n atomic.Int64
	return func(ctx context.Context, c call) (any, error) {
		answer, err := fakePresence(ctx, c)
		if c.Field == "Mutation.connected" {
			members := answer.(map[string]any)
			p := members["data"].(presence.Presence)
			title := strconv.FormatInt(n.Add(1)-1, 10)
			p.Title = &title
			members["data"] = p
		}
		return answer, err
	}
}

// subscribers opens n sockets that are subscribed to one user each.
func subscribers(tb testing.TB, server *httptest.Server, n int, userID func(i int) string) []*websocket.Conn {
	tb.Helper()
	sockets := make([]*websocket.Conn, n)
	var wg sync.WaitGroup
	dialing := make(chan struct{}, 64)
	for i := range sockets {
		wg.Go(func() {
			dialing <- struct{}{}
			defer func() { <-dialing }()
			ws, _, err := dial(tb, server, "header", "bob")
			if err != nil {
				tb.Error(err)
				return
			}
			for _, frame := range []string{
				`{"type":"connection_init"}`,
				encode(tb, map[string]any{"id": "1", "type": "start", "payload": map[string]any{
					"data":       encode(tb, map[string]any{"query": onStatus, "variables": map[string]string{"u": userID(i)}}),
					"extensions": map[string]any{"authorization": map[string]string{"Authorization": "bob"}},
				}}),
			} {
				if err := ws.Write(tb.Context(), websocket.MessageText, []byte(frame)); err != nil {
					tb.Error(err)
					return
				}
			}
			for {
				text, err := read(tb, ws)
				if err != nil {
					tb.Error(err)
					return
				}
				if strings.Contains(text, "start_ack") {
					break
				}
			}
			sockets[i] = ws
		})
	}
	wg.Wait()
	if tb.Failed() {
		tb.FailNow()
	}
	return sockets
}

// A thousand subscribers get every one of a user's changes, in order, and
// those of other users get none of them.
func TestFanOut(t *testing.T) {
	t.Parallel()
	const sockets, changes = 1000, 20
	server := newServer(t, appsync.Options{Invoker: numbered()})
	all := subscribers(t, server, sockets, func(i int) string {
		if i%100 == 0 {
			return "carol"
		}
		return "alice"
	})
	var wg sync.WaitGroup
	for i, ws := range all {
		wg.Go(func() {
			first, last := 0, changes
			if i%100 == 0 {
				first, last = changes, changes+1
			}
			for n := first; n < last; n++ {
				text, err := read(t, ws)
				title := `"title":"` + strconv.Itoa(n) + `"`
				if err != nil || !strings.Contains(text, title) {
					t.Errorf("socket %d, change %d: %s, %v", i, n, text, err)
					return
				}
			}
		})
	}
	for range changes {
		query(t, server, "iam", connected, map[string]any{"u": "alice"})
	}
	query(t, server, "iam", connected, map[string]any{"u": "carol"})
	wg.Wait()
}

// A subscriber that does not read is cut, and holds up neither the mutation
// nor anybody else.
func TestSlowSubscriberIsCut(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *pipes) {
		client := &http.Client{Transport: &http.Transport{DialContext: p.dial}}
		defer client.CloseIdleConnections()
		subscribe := func() *websocket.Conn {
			ws := dialPipe(t, p, "bob")
			send(t, ws, `{"type":"connection_init"}`)
			expect(t, ws, `"connection_ack"`)
			start(t, ws, "1", "bob", onStatus, map[string]any{"u": "alice"})
			expect(t, ws, `"start_ack"`)
			return ws
		}
		slow, fast := subscribe(), subscribe()
		defer func() { _ = slow.CloseNow() }()
		defer func() { _ = fast.CloseNow() }()
		const changes = 1100 // More than are kept for one that is behind.
		read := make(chan int)
		go func() {
			n := 0
			for ; n < changes; n++ {
				if _, _, err := fast.Read(t.Context()); err != nil {
					break
				}
			}
			read <- n
		}()
		for range changes {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost"+appsync.Path,
				strings.NewReader(encode(t, map[string]any{"query": connected, "variables": map[string]any{"u": "alice"}})))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "iam")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		if n := <-read; n != changes {
			t.Errorf("the other subscriber got %d of %d", n, changes)
		}
		got := 0
		for ; got < changes; got++ {
			if _, _, err := slow.Read(t.Context()); err != nil {
				break
			}
		}
		if got > 2 { // What was on its way.
			t.Errorf("the slow subscriber got %d messages after it was cut", got)
		}
	})
}

// Sockets come and go, subscriptions start and stop, and mutations run, all at
// once. A subscription that has been acknowledged misses nothing.
func TestChurn(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{Invoker: numbered()})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			who := fmt.Sprintf("user%d", i%3)
			for round := range 10 {
				ws := open(t, server, "bob")
				for _, u := range []string{"user0", "user1", "user2"} {
					start(t, ws, u, "bob", onStatus, map[string]any{"u": u})
				}
				for acks := 0; acks < 3; {
					if text, err := read(t, ws); err != nil {
						t.Error(err)
						return
					} else if strings.Contains(text, "start_ack") {
						acks++
					}
				}
				_, title, _ := strings.Cut(query(t, server, "iam", connected, map[string]any{"u": who}), `"title":`)
				title, _, _ = strings.Cut(title, ",")
				for {
					text, err := read(t, ws)
					if err != nil {
						t.Errorf("%s did not arrive: %v", title, err)
						return
					}
					if strings.Contains(text, `"title":`+title+`}`) || strings.Contains(text, `"title":`+title+`,`) {
						break
					}
				}
				if round%2 == 0 {
					_ = ws.Close(websocket.StatusNormalClosure, "")
				} else {
					_ = ws.CloseNow()
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkFanOut measures one change told to a thousand real sockets.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			server := newServer(b, appsync.Options{})
			all := subscribers(b, server, n, func(int) string { return "alice" })
			arrived := make(chan struct{}, n)
			for _, ws := range all {
				go func() {
					for {
						if _, _, err := ws.Read(b.Context()); err != nil {
							return
						}
						arrived <- struct{}{}
					}
				}()
			}
			b.ReportAllocs()
			for b.Loop() {
				query(b, server, "iam", connected, map[string]any{"u": "alice"})
				for range n {
					<-arrived
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkAmong measures one change told to one subscriber, among many that
// watch others. How many there are must not matter.
func BenchmarkAmong(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			server := newServer(b, appsync.Options{})
			for i := range (n + 199) / 200 {
				ws := open(b, server, "bob")
				for j := range min(n, 200) {
					start(b, ws, strconv.Itoa(j), "bob", onStatus, map[string]any{"u": fmt.Sprintf("user%d", i*200+j)})
				}
				for range min(n, 200) {
					expect(b, ws, `"start_ack"`)
				}
			}
			alice := subscribers(b, server, 1, func(int) string { return "alice" })[0]
			b.ReportAllocs()
			for b.Loop() {
				query(b, server, "iam", connected, map[string]any{"u": "alice"})
				expect(b, alice, `"data"`)
			}
		})
	}
}

// BenchmarkQuery measures one query over HTTP, handler aside.
func BenchmarkQuery(b *testing.B) {
	server := newServer(b, appsync.Options{})
	b.ReportAllocs()
	for b.Loop() {
		query(b, server, "bob", `query($u: ID!) { status(userId: $u) { userId status url title asOf } }`, map[string]any{"u": "alice"})
	}
}
