package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"presence"
	"presence/internal/announce"
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
			p.Faults = sim.Faults{Sleep: true}
			p.Tabs = 1
			p.Subject = sim.Ours(func(s presence.Store) presence.Store { return silent{s} })
		},
		"D3-events-as-truth": func(p *sim.Plan) {
			p.Faults = sim.Faults{EventLate: 0.3}
			p.Subject = believing
		},
		"D4-timeout-without-slack": func(p *sim.Plan) {
			p.Faults = sim.Faults{WrongClock: true}
			p.Users = 3
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
		"D9-query-then-subscribe": func(p *sim.Plan) { p.Naive.QueryFirst = true },
		"D10-heartbeat-as-query":  func(p *sim.Plan) { p.Naive.HeartbeatQuery = true },
		"the-sample-as-a-whole":   func(p *sim.Plan) { p.Subject, p.Naive = sim.Sample, sim.Naive{LastWins: true, ToldByCaller: true} },
		"never-acknowledged": func(p *sim.Plan) {
			p.Subject = sim.Ours(func(s presence.Store) presence.Store { return deaf{s} })
		},
		"acknowledges-what-was-not-announced": func(p *sim.Plan) {
			p.Faults = sim.Faults{Slow: 0.3}
			p.Subject = sim.Ours(func(s presence.Store) presence.Store { return hasty{s} })
		},
		"no-rule-for-changes-of-page": func(p *sim.Plan) {
			p.Rules = announce.Rules()
			p.Rules[0].Changes = []presence.Change{presence.Connected}
		},
		"topics-missing": func(p *sim.Plan) {
			p.Subject = announces(func(told *presence.Presence) { told.Topics = nil })
		},
		"topics-of-somebody-else": func(p *sim.Plan) {
			p.Subject = announces(func(told *presence.Presence) { told.Topics = []string{presence.UserTopic("nobody")} })
		},
		"callers-told-topics": func(p *sim.Plan) {
			p.Subject = answering("Mutation.connect", func(told *presence.Presence) { told.Topics = []string{presence.UserTopic(told.UserID)} })
		},
		// Slow instances read the truth and answer it late.
		"watchers-that-know-no-asOf": func(p *sim.Plan) {
			p.Faults = sim.Faults{Slow: 0.2, EventTwice: 0.5}
			p.Naive.LastWins = true
		},
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

// deaf acknowledges nothing.
type deaf struct{ presence.Store }

func (deaf) Acknowledge(context.Context, string, presence.Time) error { return nil }

// hasty acknowledges whatever note there is by now, and not the one announced.
type hasty struct{ presence.Store }

func (s hasty) Acknowledge(ctx context.Context, userID string, _ presence.Time) error {
	states, err := s.Status(ctx, []string{userID})
	if err != nil {
		return err
	}
	return s.Store.Acknowledge(ctx, userID, states[0].Note)
}

// silent tells nobody of users that a heartbeat brings back.
type silent struct{ presence.Store }

func (s silent) Touch(ctx context.Context, b presence.Beat) (presence.State, error) {
	state, err := s.Store.Touch(ctx, b)
	if b.Reason == presence.ReasonHeartbeat && state.Note != 0 {
		_ = s.Acknowledge(ctx, b.UserID, state.Note)
		state.Note, state.Change = 0, presence.NoChange
	}
	return state, err
}

// believing announces what an event says, in place of what is true by then.
var believing = answering("Mutation.disconnected", func(p *presence.Presence) {
	p.Status, p.URL, p.Title, p.ExpiresAt = presence.Offline, nil, nil, 0
})

// announces spoils what subscribers are told.
func announces(spoil func(*presence.Presence)) sim.Subject {
	return func(env sim.Env) (sim.Invoker, error) {
		handler, err := answering("Mutation.connected", spoil)(env)
		return spoiler{handler, "Mutation.disconnected", spoil}, err
	}
}

// answering spoils the handler's answers to a field.
func answering(field string, spoil func(*presence.Presence)) sim.Subject {
	return func(env sim.Env) (sim.Invoker, error) {
		handler, err := sim.Ours(nil)(env)
		return spoiler{handler, field, spoil}, err
	}
}

type spoiler struct {
	sim.Invoker
	field string
	spoil func(*presence.Presence)
}

func (s spoiler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	reply, err := s.Invoker.Invoke(ctx, payload)
	if err != nil || !bytes.Contains(payload, []byte(`"field":"`+s.field+`"`)) {
		return reply, err
	}
	var answer struct {
		Data  *presence.Presence `json:"data,omitempty"`
		Error any                `json:"error,omitempty"`
	}
	if err := json.Unmarshal(reply, &answer); err != nil {
		return nil, err
	}
	if answer.Data != nil {
		s.spoil(answer.Data)
	}
	return json.Marshal(answer)
}

// sessionless knows one session a user.
type sessionless struct{ presence.Store }

func (s sessionless) Touch(ctx context.Context, b presence.Beat) (presence.State, error) {
	b.SessionID = ""
	return s.Store.Touch(ctx, b)
}

func (s sessionless) Leave(ctx context.Context, l presence.Leave) (presence.State, error) {
	l.SessionID = ""
	return s.Store.Leave(ctx, l)
}

// stale says online of everybody a sweep has not found out about yet.
type stale struct {
	presence.Store
	online map[string]presence.Presence
}

func (s stale) Touch(ctx context.Context, b presence.Beat) (presence.State, error) {
	state, err := s.Store.Touch(ctx, b)
	s.online[b.UserID] = state.Presence
	return state, err
}

func (s stale) Leave(ctx context.Context, l presence.Leave) (presence.State, error) {
	delete(s.online, l.UserID)
	return s.Store.Leave(ctx, l)
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
