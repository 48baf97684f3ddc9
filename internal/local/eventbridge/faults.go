package eventbridge

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"presence"
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
	s.faults.rand = rand.New(rand.NewPCG(f.Seed, 0)) //nolint:gosec // repeatable on purpose
}

// FaultsHandler sets the faults of a running server: a PUT with the query
// throttle, reject, drop and duplicate as shares, delay and reorder as
// durations like 500ms, and seed. What is not given is off, so a PUT without a
// query ends all faults.
func (s *Server) FaultsHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			w.Header().Set("Allow", http.MethodPut)
			http.Error(w, "Faults are set with PUT.", http.StatusMethodNotAllowed)
			return
		}
		f, err := parseFaults(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.SetFaults(f)
		w.WriteHeader(http.StatusNoContent)
	})
}

func parseFaults(query url.Values) (f Faults, err error) {
	shares := map[string]*float64{"throttle": &f.Throttle, "reject": &f.Reject, "drop": &f.Drop, "duplicate": &f.Duplicate}
	times := map[string]*time.Duration{"delay": &f.Delay, "reorder": &f.Reorder}
	for name := range query {
		value := query.Get(name)
		switch share, duration := shares[name], times[name]; {
		case share != nil:
			if *share, err = strconv.ParseFloat(value, 64); err != nil || !(*share >= 0 && *share <= 1) {
				return f, presence.Errorf(presence.InvalidArgument, "The share %s must be from 0 to 1, not %q.", name, value)
			}
		case duration != nil:
			if *duration, err = time.ParseDuration(value); err != nil || *duration < 0 {
				return f, presence.Errorf(presence.InvalidArgument, "The time %s must be a duration like 500ms, not %q.", name, value)
			}
		case name == "seed":
			if f.Seed, err = strconv.ParseUint(value, 10, 64); err != nil {
				return f, presence.Errorf(presence.InvalidArgument, "The seed must be a whole number, not %q.", value)
			}
		default:
			return f, presence.Errorf(presence.InvalidArgument, "There is no fault %q.", name)
		}
	}
	return f, nil
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
