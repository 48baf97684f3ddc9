package eventbridge

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	maxEntries = 10
	// maxBytes is the limit on the size of all entries. AWS gives 1 MB in some
	// places and 256 KB in others; the lower one is safe with both.
	maxBytes = 256 << 10
	// maxBody leaves room for what JSON adds to entries of that size.
	maxBody = 2 << 20
	// maxTime is the last second of the year 9999.
	maxTime = 253402300799
)

// entry is a PutEventsRequestEntry.
type entry struct {
	Source, DetailType, Detail, EventBusName string
	Resources                                []string
	// Time is in seconds since the Unix epoch, as in all of AWS JSON 1.1.
	Time *float64
}

// result is a PutEventsResultEntry.
type result struct {
	EventID      string `json:"EventId,omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

// ServeHTTP implements [http.Handler] for the one operation PutEvents of the
// protocol AWS JSON 1.1.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-RequestId", uuid.NewString())
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch {
	case err != nil:
		fail(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "The request is too large.")
	case r.Method != http.MethodPost || r.Header.Get("X-Amz-Target") != "AWSEvents.PutEvents":
		fail(w, http.StatusBadRequest, "UnknownOperationException", "This EventBridge has the one operation AWSEvents.PutEvents, by POST.")
	case s.authorized(w, r, body):
		s.putEvents(w, body)
	}
}

// authorized reports whether a request is signed. If it is not, it is answered.
func (s *Server) authorized(w http.ResponseWriter, r *http.Request, body []byte) bool {
	if r.Header.Get("Authorization") == "" {
		fail(w, http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token")
		return false
	}
	if s.opts.Authorize != nil {
		if err := s.opts.Authorize(r, body); err != nil {
			fail(w, http.StatusForbidden, "InvalidSignatureException", err.Error())
			return false
		}
	}
	return true
}

func (s *Server) putEvents(w http.ResponseWriter, body []byte) {
	var in struct{ Entries []entry }
	if err := json.Unmarshal(body, &in); err != nil {
		fail(w, http.StatusBadRequest, "SerializationException", "The request is not the JSON of PutEvents.")
		return
	}
	size := 0
	for i := range in.Entries {
		size += in.Entries[i].size()
	}
	switch {
	case len(in.Entries) == 0:
		fail(w, http.StatusBadRequest, "ValidationException", "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length greater than or equal to 1")
		return
	case len(in.Entries) > maxEntries:
		fail(w, http.StatusBadRequest, "ValidationException", "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length less than or equal to 10")
		return
	case size > maxBytes:
		fail(w, http.StatusBadRequest, "ValidationException", "Total size of the entries in the request is over the limit.")
		return
	case s.faults.throttle():
		fail(w, http.StatusBadRequest, "ThrottlingException", "Rate exceeded")
		return
	}

	if !s.begin() {
		fail(w, http.StatusServiceUnavailable, "ServiceUnavailableException", "EventBridge is shutting down.")
		return
	}
	defer s.deliveries.Done()
	var out struct {
		FailedEntryCount int
		Entries          []result
	}
	for i := range in.Entries {
		e := &in.Entries[i]
		res := e.validate()
		if res.ErrorCode == "" && s.faults.reject() {
			res = result{ErrorCode: "InternalFailure", ErrorMessage: "Internal Failure"}
		}
		if res.ErrorCode == "" {
			res.EventID = s.accept(e)
		} else {
			out.FailedEntryCount++
		}
		out.Entries = append(out.Entries, res)
	}
	answer(w, http.StatusOK, out)
}

// size is the size of an entry as EventBridge counts it, see "Calculating
// PutEvents event entry size" in the EventBridge user guide.
func (e *entry) size() int {
	n := len(e.Source) + len(e.DetailType) + len(e.Detail)
	if e.Time != nil {
		n += 14
	}
	for _, r := range e.Resources {
		n += len(r)
	}
	return n
}

// validate returns the error of an entry that EventBridge would not take, see
// PutEventsResultEntry in the API reference.
func (e *entry) validate() result {
	for _, field := range []struct{ name, value string }{{"Source", e.Source}, {"DetailType", e.DetailType}, {"Detail", e.Detail}} {
		if field.value == "" {
			return result{ErrorCode: "InvalidArgument", ErrorMessage: "Parameter " + field.name + " is not valid. Reason: " + field.name + " is a required argument."}
		}
	}
	switch {
	case utf8.RuneCountInString(e.DetailType) > 128:
		return result{ErrorCode: "InvalidArgument", ErrorMessage: "Parameter DetailType is not valid. Reason: it must have at most 128 characters."}
	case e.Time != nil && (*e.Time < 0 || *e.Time > maxTime):
		return result{ErrorCode: "InvalidArgument", ErrorMessage: "Parameter Time is not valid. Reason: it must be in the years 1970 to 9999."}
	case strings.HasPrefix(e.Source, "aws."):
		return result{ErrorCode: "NotAuthorizedForSourceException", ErrorMessage: "Not authorized for the source."}
	case !json.Valid([]byte(e.Detail)) || bytes.TrimLeft([]byte(e.Detail), " \t\r\n")[0] != '{':
		return result{ErrorCode: "MalformedDetail", ErrorMessage: "Detail is malformed."}
	}
	return result{}
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Amzn-ErrorType", code)
	answer(w, status, map[string]string{"__type": code, "message": message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
