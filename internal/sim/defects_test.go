package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"presence"
	"presence/internal/sim"
)

// A checker is worth what it finds. Each of these puts back a defect of the
// AppSync presence sample, which the simulator has to notice within so many
// histories.
func TestDefectsAreNoticed(t *testing.T) {
	t.Parallel()
	const within = 300
	for name, spoil := range map[string]func(*sim.Plan){
		"D1-lost-timeouts": func(p *sim.Plan) {
			p.Faults = sim.Faults{Throttle: 0.5}
			p.Subject = sim.Ours(func(s presence.Store) presence.Store { return forgetful{s} })
		},
		"D2-silent-resurrection": func(p *sim.Plan) {
			p.Subject = sim.Ours(func(s presence.Store) presence.Store { return silent{s} })
		},
		"D3-events-as-truth": func(p *sim.Plan) { p.Subject = believing },
		"D4-timeout-without-slack": func(p *sim.Plan) {
			p.Faults = sim.Faults{WrongClock: true}
			p.Heartbeat, p.Timeout = 10*time.Second, 10*time.Second
		},
		"D5-no-sessions": func(p *sim.Plan) {
			p.Subject = sim.Ours(func(s presence.Store) presence.Store { return sessionless{s} })
		},
		"D6-stale-reads": func(p *sim.Plan) {
			p.Subject = sim.Ours(func(s presence.Store) presence.Store {
				return stale{s, map[string]presence.Presence{}}
			})
		},
		"D9-query-then-subscribe":    func(p *sim.Plan) { p.Naive.QueryFirst = true },
		"D10-heartbeat-as-query":     func(p *sim.Plan) { p.Naive.HeartbeatQuery = true },
		"the-sample-as-a-whole":      func(p *sim.Plan) { p.Subject, p.Naive.LastWins = sim.Ancestor, true },
		"watchers-that-know-no-asOf": func(p *sim.Plan) { p.Naive.LastWins = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= within; seed++ {
				plan := sim.Draw(seed)
				spoil(&plan)
				result, err := sim.Run(plan, false)
				if err != nil {
					t.Fatal(err)
				}
				if result.Violation != "" {
					t.Logf("seed %d: %s", seed, result.Violation)
					return
				}
			}
			t.Errorf("nothing noticed in %d histories", within)
		})
	}
}

// forgetful takes notes out of the outbox before they are published.
type forgetful struct{ presence.Store }

func (s forgetful) Sweep(ctx context.Context) (presence.Sweep, error) {
	sweep, err := s.Store.Sweep(ctx)
	for _, state := range sweep.Due {
		_ = s.Acknowledge(ctx, state.UserID, state.Note)
	}
	return sweep, err
}

// silent tells nobody of those whom a heartbeat brings back.
type silent struct{ presence.Store }

func (s silent) Touch(ctx context.Context, userID, sessionID string, page presence.Page, reason presence.Reason) (presence.State, error) {
	state, err := s.Store.Touch(ctx, userID, sessionID, page, reason)
	if reason == presence.ReasonHeartbeat && state.Note != 0 {
		_ = s.Acknowledge(ctx, userID, state.Note)
		state.Note, state.StatusChanged = 0, false
	}
	return state, err
}

// believing announces what an event says, in place of what is true by then.
func believing(env sim.Env) (sim.Invoker, error) {
	handler, err := sim.Ours(nil)(env)
	return believer{handler}, err
}

type believer struct{ sim.Invoker }

func (b believer) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	reply, err := b.Invoker.Invoke(ctx, payload)
	if err != nil || !bytes.Contains(payload, []byte(`"fieldName":"disconnected"`)) {
		return reply, err
	}
	var p presence.Presence
	if err := json.Unmarshal(reply, &p); err != nil {
		return nil, err
	}
	p.Status, p.URL, p.Title, p.ExpiresAt = presence.Offline, nil, nil, 0
	return json.Marshal(p)
}

// sessionless knows one session a user.
type sessionless struct{ presence.Store }

func (s sessionless) Touch(ctx context.Context, userID, _ string, page presence.Page, reason presence.Reason) (presence.State, error) {
	return s.Store.Touch(ctx, userID, "", page, reason)
}

func (s sessionless) Leave(ctx context.Context, userID, _ string, grace time.Duration) (presence.State, error) {
	return s.Store.Leave(ctx, userID, "", grace)
}

// stale says online of everybody a sweep has not found out about yet.
type stale struct {
	presence.Store
	online map[string]presence.Presence
}

func (s stale) Touch(ctx context.Context, userID, sessionID string, page presence.Page, reason presence.Reason) (presence.State, error) {
	state, err := s.Store.Touch(ctx, userID, sessionID, page, reason)
	s.online[userID] = state.Presence
	return state, err
}

func (s stale) Leave(ctx context.Context, userID, sessionID string, grace time.Duration) (presence.State, error) {
	delete(s.online, userID)
	return s.Store.Leave(ctx, userID, sessionID, grace)
}

func (s stale) Status(ctx context.Context, userIDs []string) ([]presence.State, error) {
	states, err := s.Store.Status(ctx, userIDs)
	for i := range states {
		if online, ok := s.online[states[i].UserID]; ok && states[i].Status == presence.Offline {
			asOf := states[i].AsOf
			states[i].Presence = online
			states[i].AsOf = asOf
		}
	}
	return states, err
}

func (s stale) Sweep(ctx context.Context) (presence.Sweep, error) {
	sweep, err := s.Store.Sweep(ctx)
	for _, state := range sweep.Due {
		delete(s.online, state.UserID)
	}
	return sweep, err
}
