package presence

import "time"

// Timing is the contract between clients, which beat every Heartbeat, and the
// server, which takes a user offline Timeout after the last beat.
type Timing struct {
	Heartbeat time.Duration `env:"PRESENCE_HEARTBEAT" default:"30s" help:"How often clients are told to beat."`
	Timeout   time.Duration `env:"PRESENCE_TIMEOUT" default:"75s" help:"How long after the last beat a user is offline; at least twice the heartbeat."`
	Retention time.Duration `env:"PRESENCE_RETENTION" default:"720h" help:"How long after that lastSeen is remembered."`
}

// Validate returns an [InvalidArgument] error where the contract cannot hold.
// A timeout under two heartbeats takes people offline who never left: one beat
// that is late, or lost and sent again, is enough.
func (t Timing) Validate() error {
	switch {
	case t.Heartbeat < time.Second:
		return Errorf(InvalidArgument, "The heartbeat (%v) must be at least 1s.", t.Heartbeat)
	case t.Timeout < 2*t.Heartbeat:
		return Errorf(InvalidArgument, "The timeout (%v) must be at least twice the heartbeat (%v), better two and a half times: otherwise one late beat shows people offline who never left.", t.Timeout, t.Heartbeat)
	case t.Timeout > 24*time.Hour:
		return Errorf(InvalidArgument, "The timeout (%v) must be at most 24h.", t.Timeout)
	case t.Retention < t.Timeout:
		return Errorf(InvalidArgument, "The retention (%v) must be at least the timeout (%v).", t.Retention, t.Timeout)
	}
	return nil
}
