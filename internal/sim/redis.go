package sim

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // Redis names scripts by it
	"encoding/hex"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	redisserver "github.com/alicebob/miniredis/v2/server"

	"presence/internal/model"
)

// server is an embedded Redis. Every command of a Lambda instance waits here
// for its turn.
type server struct {
	*miniredis.Miniredis
	w      *world
	main   bool // keeps presence, not pages
	back   time.Duration
	known  map[string]bool // scripts
	inside bool            // a command is running: what arrives is a script's
}

func newServer(w *world, main bool) (*server, error) {
	s := &server{Miniredis: miniredis.NewMiniRedis(), w: w, main: main, known: map[string]bool{}}
	if err := s.Start(); err != nil {
		return nil, err
	}
	s.SetTime(epoch)
	s.Server().SetPreHook(s.command)
	return s, nil
}

// url says that clients wait however long this machine takes: by its clock, and
// not the history's, they would give up on a command that still runs.
func (s *server) url() string {
	return "redis://" + s.Addr() + "?dial_timeout=1m&read_timeout=-1&write_timeout=-1"
}

func (s *server) advance(d time.Duration) {
	s.SetTime(epoch.Add(s.w.now - s.back))
	s.FastForward(d)
}

// command is called before every command, by its connection's goroutine.
func (s *server) command(peer *redisserver.Peer, cmd string, args ...string) bool {
	switch {
	case s.inside, cmd == "HELLO", cmd == "CLIENT", cmd == "MULTI", cmd == "SELECT":
		return false
	}
	w := s.w
	inv := w.active
	verdict := make(chan verdict)
	w.messages <- message{inv, step{what: cmd, verdict: verdict}}
	v := <-verdict
	switch v {
	case fail:
		peer.WriteError("ERR the simulated Redis is away")
		return true
	case cutBefore:
		peer.Close()
		return true
	}
	works := s.willRun(cmd, args)
	var reply strings.Builder
	inside := redisserver.NewPeer(bufio.NewWriter(&reply))
	inside.Ctx, inside.Resp3 = peer.Ctx, peer.Resp3
	s.inside = true
	s.Server().Dispatch(inside, append([]string{cmd}, args...))
	s.inside = false
	inside.Flush()
	// The everyday heartbeat's script has answered nil where it leaves the work to
	// the next.
	if nothing := reply.String(); works && nothing != "$-1\r\n" && nothing != "_\r\n" {
		w.apply(inv)
		w.log(inv.name, "asks Redis: %v", inv.op)
	}
	w.turns.Add(1)
	if v == cutAfter {
		peer.Close()
	} else {
		peer.WriteRaw(reply.String())
	}
	return true
}

// willRun reports whether a command is one that does an operation's work: not
// a script Redis does not know, and not a page's.
func (s *server) willRun(cmd string, args []string) bool {
	switch cmd {
	case "EVAL":
		sum := sha1.Sum([]byte(args[0])) //nolint:gosec // see above
		s.known[hex.EncodeToString(sum[:])] = true
	case "EVALSHA":
		if !s.known[args[0]] {
			return false
		}
	}
	return s.main
}

// restartRedis restarts Redis empty: people are offline until they beat again.
func (w *world) restartRedis() {
	w.injected("Redis restarts empty")
	for _, s := range w.servers() {
		s.FlushAll()
		s.forgetScripts()
	}
	w.lost(&model.Store{Timing: w.Timing, Now: w.truth.Now})
}

// failOver makes Redis fail over to a replica that has not got the last while.
func (w *world) failOver(lag time.Duration) {
	w.replace(lag, w.between(time.Second, 10*time.Second))
}

// replace makes Redis forget what it learns from now on for lag: that is what the
// replica does not get. Then nobody answers while the replica takes over.
func (w *world) replace(lag, down time.Duration) {
	var replicas []snapshot
	for _, s := range w.servers() {
		replicas = append(replicas, s.snapshot())
	}
	truth, at := w.truth.Clone(), w.now
	w.after(lag, func() {
		w.redisDown = max(w.redisDown, w.now+down)
		w.hindered(down)
		w.after(down, func() {
			w.injected("failover")
			for i, s := range w.servers() {
				s.restore(replicas[i], w.now-at)
			}
			w.lost(truth)
		})
	})
}

// lost notes that Redis knows no more than truth.
func (w *world) lost(truth *model.Store) {
	w.truth = truth
	w.hindered(w.Timeout)
	for _, watcher := range w.watchers {
		for _, u := range w.users {
			watcher.taint(u.id)
		}
	}
}

// stepBack sets Redis' clock back.
func (w *world) stepBack() {
	by := []time.Duration{500 * time.Millisecond, 3 * time.Second, w.Timeout, 10 * time.Minute}[w.rand.IntN(4)]
	w.injected("clock steps back")
	w.log("redis", "by %v", by)
	w.stepped = max(w.stepped, w.now) + by + w.Timeout
	w.hindered(w.Timeout)
	for _, s := range w.servers() {
		s.back += by
		s.SetTime(epoch.Add(w.now - s.back))
	}
}

func (w *world) servers() []*server {
	if w.pages == nil {
		return []*server{w.redis}
	}
	return []*server{w.redis, w.pages}
}

// snapshot is what a Redis holds.
type snapshot []func(s *server, aged time.Duration)

func (s *server) snapshot() (all snapshot) {
	for _, key := range s.Keys() {
		ttl := s.TTL(key)
		switch s.Type(key) {
		case "string":
			value, _ := s.Get(key)
			all = append(all, func(s *server, _ time.Duration) { _ = s.Set(key, value) })
		case "hash":
			fields, _ := s.HKeys(key)
			for _, field := range fields {
				value := s.HGet(key, field)
				all = append(all, func(s *server, _ time.Duration) { s.HSet(key, field, value) })
			}
		case "zset":
			live, _ := s.SortedSet(key)
			members := maps.Clone(live)
			all = append(all, func(s *server, _ time.Duration) {
				for member, score := range members {
					_, _ = s.ZAdd(key, score, member)
				}
			})
		}
		if ttl > 0 {
			all = append(all, func(s *server, aged time.Duration) {
				if ttl > aged {
					s.SetTTL(key, ttl-aged)
				} else {
					s.Del(key)
				}
			})
		}
	}
	return all
}

func (s *server) restore(all snapshot, aged time.Duration) {
	s.FlushAll()
	for _, put := range all {
		put(s, aged)
	}
}

// forgetScripts forgets the scripts, as a restart does.
func (s *server) forgetScripts() {
	clear(s.known)
	s.inside = true
	s.Server().Dispatch(redisserver.NewPeer(bufio.NewWriter(io.Discard)), []string{"SCRIPT", "FLUSH"})
	s.inside = false
}
