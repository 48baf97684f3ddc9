package presence

import "time"

// Beat is one session's sign of life.
type Beat struct {
	UserID string
	// SessionID is empty for the user's default session.
	SessionID string
	Page      Page
	// Reason is [ReasonConnect] or [ReasonHeartbeat]. With ReasonConnect the page is
	// shown from now on; with ReasonHeartbeat only if this session's page was
	// shown before, or no living session's is.
	Reason Reason
}

// Check returns an [InvalidArgument] error if b cannot be recorded.
func (b Beat) Check() error {
	if err := CheckUserID(b.UserID); err != nil {
		return err
	}
	return checkText("sessionId", b.SessionID, maxID)
}

// Leave is the end of one session.
type Leave struct {
	UserID    string
	SessionID string
	// GraceMs is how long, in milliseconds, the session may still come back before
	// anybody is told. Zero ends it at once.
	GraceMs int64
}

// Check returns an [InvalidArgument] error if l cannot be recorded: a grace is
// at most the timeout.
func (l Leave) Check(timeout time.Duration) error {
	if err := CheckUserID(l.UserID); err != nil {
		return err
	}
	if err := checkText("sessionId", l.SessionID, maxID); err != nil {
		return err
	}
	if l.GraceMs < 0 || l.GraceMs > timeout.Milliseconds() {
		return Errorf(InvalidArgument, "The argument graceMs must be from 0 to the timeout, %d.", timeout.Milliseconds())
	}
	return nil
}
