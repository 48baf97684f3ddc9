package eventbridge

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Faults are the ways to fail. Shares are from 0 for never to 1 for always.
type Faults struct {
	// Seed makes what happens repeatable for the same calls in the same order.
	Seed uint64
	// Throttle is the share of calls answered ThrottlingException.
	Throttle float64
	// Reject is the share of entries answered InternalFailure.
	Reject float64
	// Drop is the share of deliveries that are forgotten although their entry was
	// taken, as on a bus that does not exist or by a rule that is off.
	Drop float64
	// Duplicate is the share of deliveries made twice.
	Duplicate float64
	// Delay holds every delivery up. Reorder holds each up for a random time
	// more, at most that long, so that they overtake each other.
	Delay, Reorder time.Duration
}

// SetFaults replaces the faults. The zero Faults are none.
func (s *Server) SetFaults(f Faults) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.Faults = f
	s.faults.rand = rand.New(rand.NewPCG(f.Seed, 0))
}

// maxFaults is the limit on the body of a request that sets faults.
const maxFaults = 64 << 10

// ServeFaults replaces the faults by those in the request's body, as the JSON
// of [Faults]. The request must be signed like PutEvents. Tests serve it to
// control a server in another process; nothing else should.
func (s *Server) ServeFaults(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFaults))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "The request is too large.")
		return
	}
	if !s.authorized(w, r, body) {
		return
	}
	var f Faults
	if err := json.Unmarshal(body, &f); err != nil {
		fail(w, http.StatusBadRequest, "SerializationException", "The request is not the JSON of faults.")
		return
	}
	s.SetFaults(f)
}

type faults struct {
	mu sync.Mutex
	Faults
	rand *rand.Rand // nil until SetFaults
}

// strikesLocked draws whether a fault with that share happens.
func (f *faults) strikesLocked(share float64) bool {
	return share > 0 && f.rand.Float64() < share
}

func (f *faults) throttle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.strikesLocked(f.Throttle)
}

func (f *faults) reject() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.strikesLocked(f.Reject)
}

// deliveries returns after how long each delivery of an event is to be made.
func (f *faults) deliveries() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.strikesLocked(f.Drop) {
		return nil
	}
	n := 1
	if f.strikesLocked(f.Duplicate) {
		n = 2
	}
	delays := make([]time.Duration, n)
	for i := range delays {
		if delays[i] = f.Delay; f.Reorder > 0 {
			delays[i] += time.Duration(f.rand.Int64N(int64(f.Reorder)))
		}
	}
	return delays
}
