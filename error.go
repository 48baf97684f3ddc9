package presence

import (
	"errors"
	"fmt"
)

// Code classifies an error for the caller. It is the errorType of a GraphQL
// error.
type Code string

// The codes there are.
const (
	// InvalidArgument: the call cannot succeed as it is; its message says why.
	InvalidArgument Code = "InvalidArgument"
	// Unauthorized: this caller may not do this.
	Unauthorized Code = "Unauthorized"
	// Unavailable: something behind the API is out of reach; try again.
	Unavailable Code = "Unavailable"
	// Internal: a defect of ours; the cause is in the log.
	Internal Code = "Internal"
)

// Error is an error with a sentence for the caller and a cause for the log.
type Error struct {
	Code Code
	// Message is public: a sentence the caller can act on.
	Message string
	// Err is the cause, or nil. It is logged and never sent.
	Err error
}

// Error implements error with message and cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [Error] without a cause.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// AsError returns err as an [Error]. What is none becomes [Internal], its own
// text only the cause.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: Internal, Message: "Something went wrong on our side. Try again, and report it if it happens again.", Err: err}
}
